"""``residua archs``: every net by name."""

from typing import Annotated, Any

import typer

from residua.cli.options import Debug, Json, starting
from residua.words import unknown


def families() -> list[str]:
    """The families of the listed nets, in their order."""
    from residua.nn.zoo import find, names

    return list(dict.fromkeys(find(n).family for n in names()))


def archs(
    family: Annotated[
        str | None,
        typer.Option("--family", metavar="NAME", help="only this family", autocompletion=starting(families)),
    ] = None,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """List the nets by name: layers, parameters, multiply-adds.

    Parameters and multiply-adds (MACs) are for the net as its paper has it: 1000 classes and 224-pixel pictures, or 10
    classes and 32-pixel pictures for the CIFAR nets. More nets follow from the rules: any cifar_resnet{6n+2},
    cifar_preact{9n+2}, wrn{6n+4}_{k}; a suffix _A, _B or _C chooses the shortcuts, _v1 the paper's stride, _w2 gives
    twice the channels, _nobn takes the norms out, :3-5-3 says the units per stage; plain_NAME takes the shortcuts away.

    Examples:
      residua archs --family cifar
      residua archs --json
    """
    from residua.cli.live import waiting
    from residua.nn.zoo import find, names

    if family is not None and family not in families():
        raise unknown("family", family, families())
    rows = [find(n) for n in names()]
    with waiting("counting"):
        listed = [_numbers(row) for row in rows if family in (None, row.family)]
    if json:
        from residua.cli.terminal import emit

        emit(listed)
    else:
        _show(listed)


def _numbers(row: Any) -> dict[str, Any]:
    from residua.nn.cost import cost

    made = cost(row)
    return {
        "name": row.name,
        "layers": row.layers,
        "params": made.params,
        "macs": made.macs,
        "family": row.family,
        "source": row.source,
    }


def _show(listed: list[dict[str, Any]]) -> None:
    from residua.cli.terminal import cell, results, short, table

    shown = table("net", "layers", "parameters", "MACs", "family", "source", right=("layers", "parameters", "MACs"))
    for i, row in enumerate(listed):
        last = i + 1 == len(listed) or listed[i + 1]["family"] != row["family"]
        shown.add_row(
            cell(row["name"], "bold"), str(row["layers"]), f"{row['params']:,}", short(row["macs"]),
            row["family"], cell(row["source"], "dim"), end_section=last,
        )  # fmt: skip
    results().print(shown)
