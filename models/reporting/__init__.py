"""What `models report` gathers of runs, draws and writes; one module for each."""
