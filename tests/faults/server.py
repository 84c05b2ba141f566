"""A process that has imported everything and forks a child for each run, so that a run costs no imports.

It must not touch a device before forking: XLA's threads do not survive a fork. One JSON request a line on stdin,
one JSON answer a line on stdout.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import sys
import time
import traceback
from pathlib import Path
from typing import Any

from specrun.runtime.loop.run import run
from specrun.spec.diagnostics import SpecrunError
from specrun.spec.plan.file import read_plan
from tests.faults.sabotage import SABOTAGE


def main() -> None:
    """Answer requests until stdin ends. SIGINT interrupts, also where the tests run in the background."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for line in sys.stdin:
        print(json.dumps(_serve(json.loads(line))), flush=True)


def _serve(request: dict[str, Any]) -> dict[str, Any]:
    pid = os.fork()
    if pid == 0:
        _child(request)
    status = _wait(pid, request.get("kill_after"))
    killed = -os.WTERMSIG(status) if os.WIFSIGNALED(status) else None
    return {"code": os.WEXITSTATUS(status) if killed is None else killed}


def _wait(pid: int, kill_after: float | None) -> int:
    """The child's status; it is killed when ``kill_after`` seconds have passed, and after two minutes anyway."""
    deadline = time.monotonic() + (120.0 if kill_after is None else kill_after)
    while True:
        found, status = os.waitpid(pid, os.WNOHANG)
        if found:
            return status
        if time.monotonic() >= deadline:
            os.kill(pid, signal.SIGKILL)
            return os.waitpid(pid, 0)[1]
        time.sleep(0.002)


def _child(request: dict[str, Any]) -> None:
    code, said = 99, ""
    try:
        os.chdir(request["folder"])
        if request.get("sabotage"):
            SABOTAGE[request["sabotage"]]()
        run(read_plan(request["plan"]), quiet=True)
        code = 0
    except SpecrunError as error:
        code, said = error.exit_code, f"{type(error).__name__}: {error}"
    except KeyboardInterrupt:
        code = 130
    except BaseException:
        said = traceback.format_exc()
    finally:
        unlimited = resource.getrlimit(resource.RLIMIT_FSIZE)[1]  # the "full disk" has an end here
        resource.setrlimit(resource.RLIMIT_FSIZE, (unlimited, unlimited))
        Path(request["errors"]).write_text(said, encoding="utf-8")
        os._exit(code)


if __name__ == "__main__":
    main()
