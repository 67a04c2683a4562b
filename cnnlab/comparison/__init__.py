"""Compare runs: group them, test their differences, and show the result."""
