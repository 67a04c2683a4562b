"""Measure speed: training steps, processes that take turns, and upper bounds of the machine."""
