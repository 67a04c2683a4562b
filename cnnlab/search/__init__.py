"""Search hyperparameters: `space`, `study`, `trials` (the runs), `configurations`, `record`, `figures`, `terminal`."""
