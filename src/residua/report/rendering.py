"""Templates to pages: one file each, in the house's look, with nothing from elsewhere."""

import base64
import hashlib
from importlib.resources import files as resources
from pathlib import Path
from typing import Any

import jinja2

from residua.files import replacing
from residua.report import say


def rendered(
    template: str, out: Path, said: dict[str, Any], *, sheets: tuple[str, ...] = (), scripts: tuple[str, ...] = ()
) -> Path:
    """Write a page of the house's look to `out` and return it: what is `said` in a template, with more style `sheets`
    and `scripts`.

    The page is one file; only its own script may run in it. Raises DataError where it cannot be written.
    """
    templates = resources("residua.report") / "templates"
    script = "\n".join((templates / name).read_text(encoding="utf-8") for name in ("page.js", *scripts))
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("residua.report"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "percent": say.percent,
        "count": say.count,
        "figures": say.figures,
        "short": say.short,
        "label": say.label,
        "rate": say.rate,
    }
    html = environment.get_template(template).render(
        said,
        style="\n".join((templates / sheet).read_text(encoding="utf-8") for sheet in ("page.css", *sheets)),
        script=script,
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
    )
    with replacing(out) as temporary:
        temporary.write_text(html, encoding="utf-8", errors="backslashreplace", newline="\n")
    return out
