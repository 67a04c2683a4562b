"""What is inside a trained network, as pictures and one page."""
