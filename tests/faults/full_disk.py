"""A disk without room."""

from __future__ import annotations

import errno
import os
from typing import NoReturn


def full_disk(*_: object, **__: object) -> NoReturn:
    """In the place of whatever writes."""
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
