"""Make objects from settings: networks, and the parts of a run."""
