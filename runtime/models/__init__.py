"""Architectures: one folder a family, with its table (no jax) and its modules."""
