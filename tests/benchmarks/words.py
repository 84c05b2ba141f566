"""What the rows of benchmarks are written with."""

WORDS = ("search", "vector", "model", "plan", "batch", "token", "layer", "index", "query", "text")
