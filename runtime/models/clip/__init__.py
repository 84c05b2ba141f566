"""CLIP's two networks: ``table`` (defaults, parameters, names; no jax) and ``model`` (NNX)."""
