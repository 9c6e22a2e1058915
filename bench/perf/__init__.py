"""What things cost: `python -m bench.perf.NAME`."""
