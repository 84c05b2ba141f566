"""The passes from a typed spec to a plan, each small, named and pure."""
