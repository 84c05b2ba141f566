"""``specrun migrate``: another tool's configuration as a commented spec."""
