"""Methods: one answer to posterior collapse per file."""
