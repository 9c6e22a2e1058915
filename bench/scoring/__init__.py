"""From a trained run to metric rows, and the files kept of it."""
