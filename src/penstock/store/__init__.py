"""Everything that is SQL and nothing else: tables, sessions, and for each noun what reads and writes it."""
