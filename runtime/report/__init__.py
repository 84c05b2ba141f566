"""What a run leaves for people: report.html and model cards, made from its files of record. No jax."""
