"""What a spec that fits the schema must further mean; one file for each part of it."""
