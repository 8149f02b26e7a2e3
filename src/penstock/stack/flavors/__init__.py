"""Implementations of the contracts, one file each."""
