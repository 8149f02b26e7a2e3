"""How fast Penstock is, against what the same thing costs at least: `make bench`."""
