"""Nouns: source text, levels with provenance, diagnostics, the typed spec and the typed plan."""
