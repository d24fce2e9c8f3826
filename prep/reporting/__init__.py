"""What `prep report` counts, concludes, draws and writes; one module for each."""
