"""Which of many runs is better: grouping, statistics, tables, figures, a page."""
