"""The real server in a process of its own, driven from outside as users drive it."""
