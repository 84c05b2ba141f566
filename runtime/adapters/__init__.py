"""Adapters: small trained updates beside frozen kernels, and their names on disk."""
