"""The page of `residua serve` in a real browser: how soon it can be used, and how soon a unit is off.

Models with random weights (what they say does not matter here), behind a server in a thread of this process; Chromium
beside it on the same machine, so what it costs is in the figure. `ready`: from asking for the address in a new tab of a
running browser to a page whose models are listed. `toggle`: from the click on a unit to the changed bars, the picture
already known to the server. `contributions`: from a photo to its whole explanation. Bytes are those of the page's own
files as they are sent, without compression.

Prints a JSON line a case.

    python bench/page.py
    python bench/page.py --rounds 2 --nets cifar_resnet20
"""

import argparse
import asyncio
import io
import json
import shutil
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from playwright.sync_api import Page, sync_playwright

from residua.data.view import STATISTICS, View
from residua.nn import modelfile
from residua.nn.zoo import build, find
from residua.serve.app import PAGE
from residua.serve.hosted import Hall, Hosted, Machine
from residua.serve.limits import Limits
from residua.serve.running import Door, Server, listening
from side_by_side import Side, case

CLASSES = tuple(f"class {i}" for i in range(10))
SETTLED = ".stack.told:not(.stale)"


def make(path: Path, arch: str) -> Path:
    """A model file with random weights, for pictures of 32 pixels or of 224."""
    torch.manual_seed(0)
    row = replace(find(arch), classes=len(CLASSES))
    small = arch.startswith("cifar")
    numbers = STATISTICS["cifar10" if small else "imagenet"]
    view = View(32, "crop", 32, "RGB", numbers.mean, numbers.std) if small else View(
        224, "crop", 256, "RGB", numbers.mean, numbers.std
    )  # fmt: skip
    modelfile.save(path, build(row), modelfile.Header(row=row, classes=CLASSES, view=view.to_json()), overwrite=True)
    return path


def photo(side: int) -> dict[str, Any]:
    """Noise as a PNG file, as Playwright chooses files."""
    out = io.BytesIO()
    pixels = np.random.default_rng(0).integers(0, 256, (side, side, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(out, "PNG")
    return {"name": "noise.png", "mimeType": "image/png", "buffer": out.getvalue()}


@contextmanager
def serving(models: list[Hosted]) -> Iterator[str]:
    """The address of a server of these models."""
    hall, there, ready = Hall(models, Limits(farewell_seconds=0.0)), list[Any](), threading.Event()

    async def run() -> None:
        with listening("127.0.0.1", 0) as http:
            server, loop = Server(hall, Door(port=0)), asyncio.get_running_loop()
            there.append(lambda: loop.call_soon_threadsafe(server.end))
            await server.answer(http, lambda url, rpc: (there.append(url), ready.set()))

    thread = threading.Thread(target=lambda: asyncio.run(run()))
    thread.start()
    ready.wait(60)
    try:
        yield there[1]
    finally:
        there[0]()
        thread.join()


def seconds(work: Any) -> float:
    """What it takes."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def loaded(page: Page, url: str) -> None:
    page.goto(url)
    page.wait_for_selector("body[data-ready]")


def toggles(page: Page, name: str) -> Iterator[float]:
    """Seconds of one click on a unit after the other, round and round."""
    page.select_option("#model", name)
    page.set_input_files("#choose", photo(32 if name.startswith("cifar") else 400))
    page.wait_for_selector(SETTLED)
    n = page.locator(".unit").count()
    i = 0
    while True:
        unit = page.locator(".unit").nth(i % n)
        with page.expect_response("**/v1/depth"):
            began = time.perf_counter()
            unit.click()
        page.wait_for_selector(".end b")
        yield time.perf_counter() - began
        page.wait_for_timeout(700)
        page.wait_for_selector(SETTLED)
        i += 1


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--nets", nargs="+", default=["cifar_resnet20", "cifar_resnet56"])
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        files = [make(Path(folder) / f"{net}.safetensors", net) for net in asked.nets]
        hosted = [Hosted(net, file, Machine("cpu")) for net, file in zip(asked.nets, files, strict=True)]
        with serving(hosted) as url, sync_playwright() as p:
            browser = p.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
            words = f"Chromium {browser.version}, 1280 x 900"
            own = [f for f in PAGE.iterdir() if f.suffix in (".js", ".css") or f.name == "index.html"]

            def fresh() -> float:
                page = browser.new_page()
                took = seconds(lambda: loaded(page, url))
                page.close()
                return took

            ready = Side("page", words, fresh)
            size = sum(f.stat().st_size for f in own)
            print(json.dumps(case(
                "page/ready", "s", ready, rounds=asked.rounds, more=False, goal=1.0, bytes=size, goal_bytes=300_000
            )))  # fmt: skip
            for net in asked.nets:
                page = browser.new_page()
                loaded(page, url)
                turns = toggles(page, net)
                side = Side("toggle", f"{words}; {net}, fp32", lambda turns=turns: next(turns))
                print(json.dumps(case(f"page/toggle/{net}", "s", side, rounds=asked.rounds, more=False, goal=0.3)))
                explained = []
                for _ in range(min(asked.rounds, 5)):
                    page.evaluate("document.querySelector('.stack')?.remove()")
                    explained.append(seconds(lambda page=page: (
                        page.set_input_files("#choose", photo(32)), page.wait_for_selector(SETTLED)
                    )))  # fmt: skip
                print(f"  {net}: a photo explained in {statistics.median(explained):.2f} s", file=sys.stderr)
                page.close()
            browser.close()


if __name__ == "__main__":
    main()
