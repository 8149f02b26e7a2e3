"""The nouns over HTTP, for every process that is not the server."""
