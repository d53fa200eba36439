"""Measurements of speed and memory; each is a command that prints a table."""
