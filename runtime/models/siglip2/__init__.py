"""SigLIP 2's network of images of any shape (NaFlex): ``table`` (no jax) and ``model`` (NNX). Texts are SigLIP's."""
