"""The HTTP face of the control tower."""
