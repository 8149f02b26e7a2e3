"""Names under which code that was written for others finds Penstock. Nothing inside Penstock depends on this room."""
