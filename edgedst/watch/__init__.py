"""Runs as they go on, for a page or a terminal: read from their folders, so that training pays nothing for it."""
