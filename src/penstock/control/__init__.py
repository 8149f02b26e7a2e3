"""The use-cases, one file a noun, and the loops that carry queued runs to their end."""
