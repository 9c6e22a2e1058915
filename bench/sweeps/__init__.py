"""Shipped sweeps: `python -m bench.run --grid NAME`."""
