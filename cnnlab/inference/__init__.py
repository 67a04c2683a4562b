"""Trained networks at work: load, score, classify, embed, export."""
