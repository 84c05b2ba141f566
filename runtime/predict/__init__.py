"""Using what was trained: embeddings, and search over rows and code."""
