"""One file for each step, numbered in order. A released one is never edited."""
