"""Write the tables of docs/speed.md from the lines that the programs here printed: ``bench/NAME.jsonl``.

Each table stands between ``<!-- bench: NAME -->`` and ``<!-- /bench -->``; the words around them are written by hand.

    python bench/speed.py            # writes
    python bench/speed.py --check    # exit code 1 where the page is not what the lines say
"""

import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
PAGE = HERE.parent / "docs" / "speed.md"
TABLE = re.compile(r"(<!-- bench: (\w+) -->\n).*?(<!-- /bench -->)", re.DOTALL)
HEAD = "| what | ours | beside | theirs | ours is better by | n |\n|---|--:|---|--:|--:|--:|\n"


def page(text: str) -> str:
    """The page with its tables made again."""
    return TABLE.sub(lambda found: f"{found[1]}{table(found[2])}{found[3]}", text)


def table(name: str) -> str:
    """The table of a program's lines, and where they were measured."""
    lines = [json.loads(line) for line in (HERE / f"{name}.jsonl").read_text().splitlines() if line.strip()]
    rows = [row for line in lines for row in rows_of(line)]
    places = dict.fromkeys(where(line) for line in lines if "ours" in line)
    return f"\n{HEAD}{''.join(rows)}\n{'; '.join(places)}.\n\n"


def rows_of(line: dict[str, Any]) -> Iterator[str]:
    """A row for each peer of a case, one for a case without; none for what is no speed."""
    if "ours" not in line:
        return
    unit, ours, peers = line["unit"], line["ours"], line.get("peers")
    name = cell(line["name"])
    if not isinstance(ours, dict):  # one peer, written out
        theirs = [(line.get("peer_engine", "its peer"), line["peer"], line["ratio"], line["spread"])]
    else:
        theirs = [(f"{p['name']} ({p['settings']})", p["median"], p["ratio"], p["spread"]) for p in peers or ()]
        name += f" ({cell(ours['settings'])})" if ours.get("settings") else ""
        ours = ours["median"]
    if floor := line.get("share_of_floor"):
        limit = line["floor"]["images_per_second"]
        theirs.append(("the floor of this machine", limit, floor, None))
    mine = f"{number(ours)} {cell(unit)}"
    if not theirs:
        yield f"| {name} | {mine} | | | | {line['n']} |\n"
    for i, (who, value, ratio, spread) in enumerate(theirs):
        between = f" ({spread[0]:.2f} to {spread[1]:.2f})" if spread else ""
        first = (name, mine) if i == 0 else ("", "")
        yield f"| {first[0]} | {first[1]} | {cell(who)} | {number(value)} | **{ratio:.2f}x**{between} | {line['n']} |\n"


def where(line: dict[str, Any]) -> str:
    """The machine and the versions that count."""
    hardware, versions = line["hardware"], line["versions"]
    gpu = f" and one {hardware['gpu']}" if hardware.get("gpu") else ""
    told = ", ".join(
        f"{name} {versions[name]}" for name in ("torch", "timm", "onnxruntime", "openvino") if versions.get(name)
    )
    conditions = f"; {line['conditions']}" if line.get("conditions") else ""
    return f"{hardware['cores']} cores of {hardware['processor']}{gpu}, {told}{conditions}"


def number(value: float) -> str:
    """Three digits at least, none that say nothing."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def cell(text: object) -> str:
    """Text that stays in its cell."""
    return str(text).replace("|", "\\|").replace("\n", " ")


def main() -> None:
    """Write the page, or check it."""
    before = PAGE.read_text(encoding="utf-8")
    after = page(before)
    if "--check" in sys.argv[1:]:
        sys.exit(0 if before == after else "docs/speed.md is not what bench/*.jsonl say: python bench/speed.py")
    PAGE.write_text(after, encoding="utf-8")


if __name__ == "__main__":
    main()
