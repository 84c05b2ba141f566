"""``python -m specrun.compiler.schema [--write]``: compare the checked-in schemas with the types, or write them."""

from __future__ import annotations

import sys

from specrun.compiler.schema.emit import stale, write


def main(arguments: list[str]) -> int:
    if arguments == ["--write"]:
        print("\n".join(f"wrote schemas/{name}" for name in write()) or "schemas are current")
        return 0
    names = stale()
    for name in names:
        print(f"schemas/{name} is not what the types say: run it with --write")
    return 1 if names or arguments else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
