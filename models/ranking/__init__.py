"""Every item scored for every user: ranks of targets, and the top k."""
