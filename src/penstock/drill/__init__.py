"""Break an installation on purpose, from outside, and count what that costs: `penstock drill`."""
