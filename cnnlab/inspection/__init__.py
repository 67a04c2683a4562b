"""Inspect networks: their layers and costs, and how they process an image."""
