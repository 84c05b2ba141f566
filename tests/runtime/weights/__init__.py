"""Tests of runtime/weights."""
