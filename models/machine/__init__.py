"""The processes, devices and memory that a run computes on."""
