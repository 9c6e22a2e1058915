"""Networks with a leading run dimension."""
