"""How Hydra runs the jobs of a sweep in cnnlab. Hydra looks for such classes in the package `hydra_plugins` alone."""
