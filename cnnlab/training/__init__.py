"""Train networks. This package is handed networks and loaders, and does not know where they come from."""
