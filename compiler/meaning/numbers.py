"""Numbers that a hint proposes: divisors, multiples, the nearest ones."""

from __future__ import annotations

from collections.abc import Sequence


def divisors(number: int) -> list[int]:
    return [d for d in range(1, min(number, 1024) + 1) if number % d == 0]


def nearest(numbers: Sequence[int], wanted: int) -> list[int]:
    return sorted(sorted(numbers, key=lambda n: abs(n - wanted))[:4])


def multiple(number: int, of: int) -> int:
    return -(-number // of) * of
