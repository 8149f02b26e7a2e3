"""The author room: Python functions become the content of a snapshot."""
