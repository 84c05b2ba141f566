"""Rows, splits, tokens and batches. Imports no jax."""
