"""Data sets: one source of series per file."""
