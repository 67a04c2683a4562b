"""Show the inside of a trained network on one page with pictures."""
