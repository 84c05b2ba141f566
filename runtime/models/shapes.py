"""Rows of the tables: the parameters of the common modules, and the checks that shapes must pass. Imports no jax."""

from __future__ import annotations

from dataclasses import replace

from specrun.spec.diagnostics import Diagnostic, InputError
from specrun.spec.plan.parameters import TableRow


def dense(path: str, n_in: int, n_out: int, *, bias: bool = True) -> tuple[TableRow, ...]:
    """``kernel`` (in, out) and ``bias`` (out)."""
    kernel = TableRow(path=f"{path}.kernel", shape=(n_in, n_out), role="kernel")
    if not bias:
        return (kernel,)
    return (kernel, TableRow(path=f"{path}.bias", shape=(n_out,), role="bias"))


def norm(path: str, width: int, *, bias: bool = True) -> tuple[TableRow, ...]:
    """``scale`` and ``bias`` (width)."""
    scale = TableRow(path=f"{path}.scale", shape=(width,), role="scale")
    if not bias:
        return (scale,)
    return (scale, TableRow(path=f"{path}.bias", shape=(width,), role="bias"))


def embedding(path: str, count: int, width: int) -> tuple[TableRow, ...]:
    """``embedding`` (count, width)."""
    return (TableRow(path=f"{path}.embedding", shape=(count, width), role="embedding"),)


def patches(
    path: str, size: int, channels: int, width: int, *, bias: bool = True
) -> tuple[TableRow, ...]:
    """A convolution without overlap as a ``dense`` of patches: kernel (size · size · channels, width)."""
    made = dense(path, size * size * channels, width, bias=bias)
    return (replace(made[0], held=(width, channels, size, size)), *made[1:])


def bare(path: str, count: int, width: int, held: tuple[int, ...]) -> tuple[TableRow, ...]:
    """``embedding`` (count, width) that files keep as a tensor of its own, in the shape ``held``."""
    return tuple(replace(row, held=held) for row in embedding(path, count, width))


def check_heads(hidden_size: int, heads: int, layers: int, *, rotary: bool = False) -> None:
    """Heads divide the width, and rotary heads are even. Raises InputError; without layers there is nothing to check."""
    if layers == 0:
        return
    if hidden_size % heads:
        raise InputError(
            [
                Diagnostic(
                    code="heads",
                    path="model.num_attention_heads",
                    message=f"num_attention_heads must divide hidden_size, but {hidden_size} / {heads} is not whole",
                    hint=f"use one of {', '.join(map(str, _divisors(hidden_size)))}",
                )
            ]
        )
    if rotary and (hidden_size // heads) % 2:
        raise InputError(
            [
                Diagnostic(
                    code="heads",
                    path="model.num_attention_heads",
                    message=(
                        "rotary positions turn pairs of numbers, so a head must be even, "
                        f"but {hidden_size} / {heads} = {hidden_size // heads} is odd"
                    ),
                    hint="change num_attention_heads or hidden_size",
                )
            ]
        )


def _divisors(n: int) -> list[int]:
    return [d for d in range(1, min(n, 128) + 1) if n % d == 0]
