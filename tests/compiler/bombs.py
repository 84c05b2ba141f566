"""Specs of a form that costs a careless reader much: deep, long, repeated, or of what refers to itself."""

from __future__ import annotations

BOMBS = {
    "brackets": "'[' * 1_000_000",
    "braces": "'{a: ' * 200_000",
    "dashes": "'- ' * 500_000",
    "indents": "''.join(' ' * n + 'a:\\n' for n in range(1000))",
    "aliases": '\'\\n\'.join(f\'a{n}: &a{n} [{", ".join([f"*a{n - 1}"] * 9 if n else ["x"])}]\' '
    "for n in range(60))",
    "merges": "'a: &a {' + ', '.join(f'k{n}: 1' for n in range(900)) + '}\\n' + "
    "'\\n'.join(f'b{n}: {{<<: [*a, *a, *a]}}' for n in range(900))",
    "wrong losses": "'losses:\\n' + '  - {kind: infonce, temperature: -1}\\n' * 3000",
    "unknown keys": "''.join(f'tempera{n}: 1\\n' for n in range(4900))",
    "duplicate keys": "'a: 1\\n' * 170_000",
    "mixed items": "'matryoshka: {dims: [' + '1, a, ' * 4900 + ']}'",
    "stages": "'curriculum:\\n  stages:\\n' + '    - {name: a}\\n' * 3300",
    "digits": "'seed: ' + '9' * 1_000_000",
    "exponent": "'seed: 1e' + '9' * 1_000_000",
    "one line": "'name: ' + 'x' * 1_000_000",
    "long keys": "('a' * 1000 + ': 1\\n') * 1000",
    "quoted": "'a: \"' + '\\\\u0041' * 150_000 + '\"'",
    "open quote": "\"a: '\" + 'x\\n' * 500_000",
    "open list": "'a: [' + 'x,\\n' * 8000",
    "comments": "'#' * 1_000_000",
    "newlines": "'\\n' * 1_000_000",
    "tabs": "'\\t' * 1_000_000",
    "octals": "'a: [' + '017, ' * 9000 + ']'",
    "presets": "'extends: [' + ', '.join(f'p{n}.yaml' for n in range(9000)) + ']'",
    "huge": "'a: 1\\n' * 20_000_000",
    "long paths": "''.join(' ' * n + 'k' * 128 + ':\\n' for n in range(60)) + ' ' * 60 + '[' "
    "+ 'x,' * 9000 + ']'",
    "zero bytes": "'\\0' * 1_000_000",
}
"""Expressions of Python, by what they are; a spec begins with its version."""


def bomb(expression: str) -> str:
    """The text of a spec that an expression makes."""
    return "version: 1\n" + str(eval(expression))
