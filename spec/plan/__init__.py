"""The immutable, total description of a run."""
