"""Carrying out a plan: the loop, checkpoints, events, evaluation, and what a run's folder holds."""
