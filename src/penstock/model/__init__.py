"""The nouns: immutable records and pure functions over them. Nothing here does input or output."""
