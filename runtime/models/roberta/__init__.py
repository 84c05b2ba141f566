"""The RoBERTa family: ``table`` (defaults, names; no jax) and ``model`` (NNX), both on BERT's."""
