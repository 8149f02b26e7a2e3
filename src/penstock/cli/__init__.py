"""Verbs over the client: one file for each noun."""
