"""Tests of the scores of difficulty."""
