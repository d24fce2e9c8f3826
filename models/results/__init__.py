"""What evaluations found: runs side by side, tables and plots."""
