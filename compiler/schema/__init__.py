"""JSON Schemas emitted from the typed spec and the typed plan. ``python -m specrun.compiler.schema --write``."""
