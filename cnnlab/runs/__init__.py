"""Write and read run directories, and manage the processes and jobs of runs."""
