"""Names that other tools, and guides, use for what the spec says in its own words; a file for each origin."""
