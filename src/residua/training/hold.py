"""Parts of a net that do not learn: neither their parameters nor the running statistics of their norms."""

from collections.abc import Iterable

from torch import nn

from residua.errors import UsageError
from residua.training.recipe import Recipe
from residua.training.schedule import head_steps
from residua.words import nearest

#: All but the head, which learns alone at first where a recipe says so.
BODY = ("stem", "stages")


def held(recipe: Recipe, step: int, steps_per_epoch: int) -> tuple[str, ...]:
    """The names of the parts that do not learn at a step: a pure function of it."""
    return recipe.freeze + (BODY if step < head_steps(recipe, steps_per_epoch) else ())


def hold(net: nn.Module, names: Iterable[str]) -> None:
    """Put the net into training, but for the parts of these names: their parameters get no gradient, and they run as in
    evaluation. A name is a part's path: ``stem``, ``stages.0``, ``stages.2.1``.

    Raises UsageError for a name that the net does not have, and where nothing is left to learn.
    """  # fmt: skip
    parts = [part(net, name) for name in names]
    net.requires_grad_(True).train()
    for module in parts:
        module.requires_grad_(False).eval()
    if not any(p.requires_grad for p in net.parameters()):
        raise UsageError("freeze leaves nothing to learn: leave the head, or the last stage, out of it")


def part(net: nn.Module, name: str) -> nn.Module:
    """The part of a name. Raises UsageError that names the nearest."""
    known: dict[str, nn.Module] = dict(net.named_modules())
    known = {path: m for path, m in known.items() if path and any(True for _ in m.parameters())}
    if name in known:
        return known[name]
    alike = [path for path in known if path.count(".") == name.count(".")]
    near = nearest(name, alike) or alike[:6]
    raise UsageError(f"freeze: the net has no part '{name}' that learns: did you mean {' or '.join(near)}?")
