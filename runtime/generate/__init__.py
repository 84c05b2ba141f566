"""Texts written by a masked language model: hidden tokens are filled in over several steps, the surest first."""
