"""Draw and print what several parts show: galleries, confusion matrices, sweeps, terminal tables."""
