"""JSON Schemas emitted from the typed spec and plan."""
