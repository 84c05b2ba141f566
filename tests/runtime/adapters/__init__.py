"""Tests of runtime/adapters."""
