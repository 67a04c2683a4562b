"""Run the jobs of a sweep. Hydra finds launchers and sweepers in the package `hydra_plugins` only."""
