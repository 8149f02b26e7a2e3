"""Where user code runs: run -> step -> values."""
