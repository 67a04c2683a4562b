"""The search for hyperparameters: `space` (what is varied), `study` (what is known), `trials` (its runs), `record`
(what is left), `experiment` (the best one, to train again)."""
