"""Tests of ``runtime/program``: the step, its gradient and its random numbers, exactly."""
