"""Trackers besides the record in metrics.jsonl: one file a kind, each behind an optional package."""
