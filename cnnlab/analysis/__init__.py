"""What can be found out about networks and results."""
