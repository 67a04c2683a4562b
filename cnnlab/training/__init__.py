"""How a network is trained. It is handed networks and loaders, and knows nothing of where they come from."""
