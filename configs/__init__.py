"""Presets and examples."""
