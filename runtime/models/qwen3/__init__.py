"""The Qwen3 family: ``table`` (defaults, parameters, names; no jax) and ``model`` (NNX)."""
