"""Spec to plan, in small named passes. Imports no jax."""
