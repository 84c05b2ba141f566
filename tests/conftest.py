"""Settings of all tests: compiled functions are kept between tests and processes, and no test touches the user's cache."""

from __future__ import annotations

import gc
import os
import tempfile
from importlib.metadata import version
from pathlib import Path

import pytest

MARKERS = (
    "parity: compares with torch, transformers, sentence-transformers or PEFT (needs torch)",
    "editor: drives the real yaml-language-server (needs node)",
    "browser: looks at report.html in headless Chromium (needs chromium)",
    "as_built: asks for bits or digits that XLA rounds otherwise where it is told not to optimise",
    "slow: minutes rather than seconds",
)

_COMPILED = Path(tempfile.gettempdir()) / f"specrun-tests-compiled-{os.getuid()}"
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(_COMPILED))
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.1")
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES", "0")

QUICKLY = ["--xla_backend_optimization_level=0", "--xla_llvm_disable_expensive_passes=true"]
"""XLA's flags under which a step is compiled in half the time, means the same, and runs slower. Compiling is most of
what the tests do. Those of parity, and those marked ``as_built``, are compiled as users' runs are."""

if version("jaxlib") < "0.11":  # later ones have no such flag, and refuse what they do not know
    QUICKLY.append("--xla_cpu_use_fusion_emitters=false")

if os.environ.pop("SPECRUN_TESTS_COMPILE", "") == "quickly":
    # Processes that tests start inherit the flags, and find the word gone.
    os.environ["XLA_FLAGS"] = " ".join([os.environ.get("XLA_FLAGS", ""), *QUICKLY]).strip()


def pytest_addoption(parser: pytest.Parser) -> None:
    """What is asked of another interpreter, where the question is whether versions agree."""
    what = "of a test with several parameters the first alone"
    parser.addoption("--first-of-each", action="store_true", help=what)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what ``--first-of-each`` leaves out, of the tests that the marks left."""
    if not config.getoption("--first-of-each"):
        return
    first: dict[str, pytest.Item] = {}
    for item in items:
        first.setdefault(item.nodeid.split("[")[0], item)
    left_out = [item for item in items if first[item.nodeid.split("[")[0]] is not item]
    config.hook.pytest_deselected(items=left_out)
    items[:] = first.values()


def pytest_configure(config: pytest.Config) -> None:
    """Here rather than in pyproject.toml, so that a copy of tests/ beside an installed wheel knows them too."""
    for marker in MARKERS:
        config.addinivalue_line("markers", marker)


def pytest_collection_finish() -> None:
    """Modules and tests stay to the end: the collector, which every run calls on, need not look at them again."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Artefacts of tests lie in a folder of this session."""
    os.environ.setdefault("SPECRUN_CACHE", str(tmp_path_factory.getbasetemp() / "specrun-cache"))
