"""How difficult rows are: words, readability, and distance from what texts are mostly about."""
