"""Prompts one after the other, from a person or a pipe. Imports no jax."""

from __future__ import annotations

from collections.abc import Callable
from typing import BinaryIO

from specrun.spec.diagnostics import SpecrunError


def converse(
    source: BinaryIO,
    answer: Callable[[str, int], None],
    tell: Callable[[str | SpecrunError], None],
    ask: Callable[[], None] = lambda: None,
) -> int:
    """Hand each line of ``source`` to ``answer`` with its number, until an empty line or the end. Returns how many.

    ``ask`` is called before each line. An error or an interruption ends that prompt alone: ``tell`` hears of it.
    """
    count = 0
    while True:
        try:
            ask()
            line = source.readline()
            prompt = line.decode("utf-8").rstrip("\r\n")
            if not prompt.strip():
                return count
            answer(prompt, count)
            count += 1
        except KeyboardInterrupt:
            tell("cancelled")
        except UnicodeDecodeError:
            tell("the prompt is not UTF-8")
        except SpecrunError as error:
            tell(error)
