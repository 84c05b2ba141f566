"""The MPNet family: ``table`` (defaults, parameters, names; no jax) and ``model`` (NNX), on BERT's parts."""
