"""Runs that are killed, interrupted and starved of disk: real processes, real signals."""
