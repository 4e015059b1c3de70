"""What a browser makes of the page: its script runs under its own policy, nothing sticks out on a phone."""

import html
import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from residua.report import draw

CHROMIUM = shutil.which("chromium")

pytestmark = pytest.mark.browser

FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
    "--disable-background-networking", "--disable-component-update", "--hide-scrollbars", "--enable-logging=stderr",
    "--virtual-time-budget=2000",
)  # fmt: skip

#: Appended to a copy of the page: what the page does when it is used, left in its title.
PROBE = """<script>addEventListener("load", () => {
  const svg = [...document.querySelectorAll("svg.chart")].find((s) => getComputedStyle(s).display !== "none");
  const box = svg.getBoundingClientRect();
  svg.dispatchEvent(new PointerEvent("pointermove", { clientX: box.left + box.width / 2, clientY: box.top + 9 }));
  const table = document.querySelector("table.sortable");
  const wrong = [...table.tHead.rows[0].cells].findIndex((c) => c.textContent.startsWith("wrong"));
  table.tHead.rows[0].cells[wrong].querySelector("button").click();
  const order = [...table.tBodies[0].rows].map((r) => Number(r.cells[wrong].dataset.value));
  const readout = document.querySelector(".readout");
  document.title = JSON.stringify([svg.classList[1], readout.hidden, readout.textContent, order,
    document.documentElement.scrollWidth - innerWidth]);
});</script>"""


def opened(path: Path, tmp_path: Path, width: int = 1280) -> tuple[str, str]:
    """(the page's elements after its script ran, the browser's log)."""
    assert CHROMIUM
    done = subprocess.run(
        [
            CHROMIUM, *FLAGS, f"--window-size={width},900", f"--user-data-dir={tmp_path / 'profile'}",
            "--dump-dom", path.as_uri(),
        ],
        capture_output=True, text=True, timeout=60, check=True, env=os.environ | {"HOME": str(tmp_path)},
    )  # fmt: skip
    return done.stdout, done.stderr


def test_the_script_runs_under_the_pages_own_policy_and_says_nothing(make_run, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    dom, log = opened(draw(make_run()), tmp_path)
    assert 'button type="button">recall</button>' in dom, "the script has made the table sortable"
    assert "CONSOLE" not in log
    assert "alert(1)" in dom and "<script>alert" not in dom


@pytest.mark.parametrize(("width", "chart"), [(1280, "wide"), (500, "narrow")])
def test_curves_answer_the_pointer_and_nothing_sticks_out(make_run, tmp_path: Path, width: int, chart: str) -> None:  # type: ignore[no-untyped-def]
    path = draw(make_run())
    source = re.sub(r'<meta http-equiv="Content-Security-Policy".*?>', "", path.read_text(encoding="utf-8"))
    probe = tmp_path / "probe.html"
    probe.write_text(source.replace("</body>", PROBE + "</body>"), encoding="utf-8")
    dom, _ = opened(probe, tmp_path, width)
    match = re.search(r"<title>(.*?)</title>", dom)
    assert match
    shown, hidden, words, order, beyond = json.loads(html.unescape(match[1]))
    assert (shown, hidden, beyond) == (chart, False, 0)
    assert "validation error" in words and "epoch" in words
    assert order == sorted(order, reverse=True)
