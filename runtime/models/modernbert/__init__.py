"""The ModernBERT family: ``table`` (defaults, parameters, names; no jax) and ``model`` (NNX)."""
