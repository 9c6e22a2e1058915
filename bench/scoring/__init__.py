"""From a trained run to metric rows, and to the files that are stored of it."""
