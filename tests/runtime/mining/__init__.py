"""Mined negatives."""
