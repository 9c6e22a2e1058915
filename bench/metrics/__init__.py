"""The measures, one per file; see `bench.contracts.Metric`."""
