"""The search for hyperparameters: `space` (what is varied), `study` (what is known), `trials` (its runs), `record`."""
