"""One file a noun. A route parses, calls its use-case and maps the answer; it has no rules and no SQL."""
