"""Gets stacks done: supervisor, workers, cluster, one stack from start to end, progress and estimates."""
