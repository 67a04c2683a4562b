"""How fast it is: processes that are timed in turns, training steps, and what the machine could do at most."""
