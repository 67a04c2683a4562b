"""Run directories: where a training leaves its record, and how a record is read."""
