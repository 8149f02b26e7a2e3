"""A snapshot as an HTTP service: runs user code in process, and never reaches the database."""
