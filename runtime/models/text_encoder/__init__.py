"""The text encoder trained from scratch: ``table`` (data, no jax) and ``model`` (NNX)."""
