"""Frozen teachers: what they are made of, and what they say of the training rows."""
