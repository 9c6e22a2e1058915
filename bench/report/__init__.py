"""The report: reads the store, says what the numbers allow, and never trains."""
