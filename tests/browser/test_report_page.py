"""The report as headless Chromium shows it: no error, no overflow, light and dark, nothing asked of a network."""

from __future__ import annotations

import html
import json
import re
import shutil
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from specrun.runtime.report.write import write_report
from tests.runtime.test_report import SECTIONS, folder_of

pytestmark = pytest.mark.browser

NAMES = ("chromium", "chromium-browser", "google-chrome")
WIDTHS = (360, 800, 1600)
SCHEMES = {"dark": 0, "light": 1}

# The report lies unchanged in a frame of each width, of this page's own origin, so that this page can measure it.
PROBE = """<!doctype html><meta charset="utf-8"><body>%s<pre id="found"></pre><script>
const found = {};
onload = () => {
  for (const frame of document.querySelectorAll("iframe")) {
    const page = frame.contentDocument, view = frame.contentWindow;
    page.querySelectorAll("details").forEach(d => d.open = true);
    const style = e => view.getComputedStyle(page.querySelector(e));
    found[frame.width] = {
      inside: page.documentElement.clientWidth,
      needed: page.documentElement.scrollWidth,
      sections: [...page.querySelectorAll("section")].map(s => s.id),
      flat: [...page.querySelectorAll("section")].filter(s => s.getBoundingClientRect().height < 20).length,
      background: style("body").backgroundColor,
      text: style("body").color,
      muted: style("dt").color,
      link: style("a").color,
      line: style("path.line").stroke,
      charts: [...page.querySelectorAll("svg")].map(s => s.getBoundingClientRect().width),
      resources: view.performance.getEntriesByType("resource").map(r => r.name),
    };
  }
  document.getElementById("found").textContent = JSON.stringify(found);
};
</script>"""


def chromium() -> str:
    """The browser's path; skips where there is none."""
    found = next((path for name in NAMES if (path := shutil.which(name))), None)
    if found is None:
        pytest.skip("no Chromium on this machine")
    return found


def browse(page: Path, folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    command = [
        chromium(), "--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking",
        "--disable-component-update", f"--user-data-dir={folder}", "--enable-logging=stderr",
        "--host-resolver-rules=MAP * ~NOTFOUND", *options, page.as_uri(),
    ]  # fmt: skip
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("browser")
    write_report(folder_of(root / "run"))
    return root


@cache
def looked_at(folder: Path, scheme: str) -> dict[str, Any]:
    """What the probe measured, by the width of the frame."""
    text = html.escape((folder / "run/report.html").read_text("utf-8"), quote=True)
    frames = "".join(f'<iframe width="{w}" height="900" srcdoc="{text}"></iframe>' for w in WIDTHS)
    probe = folder / f"{scheme}.html"
    probe.write_text(PROBE % frames, encoding="utf-8")
    setting = f"--blink-settings=preferredColorScheme={SCHEMES[scheme]}"
    options = ("--window-size=1700,3000", setting, "--virtual-time-budget=5000", "--dump-dom")
    done = browse(probe, folder / "profile", *options)
    assert "CONSOLE" not in done.stderr, done.stderr
    told = re.search(r'<pre id="found">(.*?)</pre>', done.stdout, re.S)
    assert told
    return json.loads(html.unescape(told[1]))


def test_the_page_alone_reports_no_error(folder: Path) -> None:
    done = browse(folder / "run/report.html", folder / "profile", "--dump-dom")
    assert "CONSOLE" not in done.stderr, done.stderr
    assert "ERROR:net" not in done.stderr
    assert 'id="worst"' in done.stdout


def test_the_probe_sees_an_error(folder: Path) -> None:
    bad = folder / "bad.html"
    bad.write_text("<script>throw Error('x')</script>")
    assert "CONSOLE" in browse(bad, folder / "profile", "--dump-dom").stderr


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("width", WIDTHS)
def test_it_fits_its_width_and_has_every_section(folder: Path, scheme: str, width: int) -> None:
    seen = looked_at(folder, scheme)[str(width)]
    assert width - 30 <= seen["inside"] <= width
    assert seen["needed"] <= seen["inside"]
    assert tuple(seen["sections"]) == SECTIONS
    assert seen["flat"] == 0
    assert min(seen["charts"]) >= 300
    assert seen["resources"] == []


def test_light_and_dark_differ_and_both_can_be_read(folder: Path) -> None:
    found = {scheme: looked_at(folder, scheme)["800"] for scheme in SCHEMES}
    assert luminance(found["light"]["background"]) > 0.8
    assert luminance(found["dark"]["background"]) < 0.05
    for seen in found.values():
        for name, least in (("text", 7.0), ("muted", 4.5), ("link", 4.5), ("line", 3.0)):
            assert contrast(seen[name], seen["background"]) >= least, name


def luminance(colour: str) -> float:
    """Relative luminance of ``rgb(r, g, b)`` (WCAG 2)."""
    parts = [int(n) / 255 for n in re.findall(r"\d+", colour)[:3]]
    linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return sum(w * p for w, p in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def contrast(one: str, other: str) -> float:
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)
