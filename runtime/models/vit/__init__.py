"""The vision transformer: ``table`` (defaults, parameters, names; no jax) and ``model`` (NNX)."""
