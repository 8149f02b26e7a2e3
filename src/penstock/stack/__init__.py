"""The bridge: every contract that an implementation must keep, and the registry of implementations."""
