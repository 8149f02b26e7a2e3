"""Rules of this house that no ready-made linter knows, one file each. Its docstring is the reason for the rule."""
