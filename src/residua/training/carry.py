"""What training has gathered beside the weights, by parameter name: so that it goes on in a net with other units.

A model file may carry it: ``optimiser/{sgd,adamw,lamb}/{buffer}/{parameter}``, and where weights are averaged (the
file's own are the averages) ``training/{name}``, those that the optimiser moves, with ``average/updates``.
"""

import copy
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from residua.engine import Decision, Engine
from residua.errors import DataError
from residua.training.recipe import Recipe
from residua.training.saving import read_state
from residua.training.state import State, begin


def buffers(state: State) -> dict[str, Tensor]:
    """The optimiser's buffers under their names in a model file."""
    kind = _kind(state)
    found: dict[str, Tensor] = {}
    names = {p: name for name, p in state.net.named_parameters()}
    for group in state.optimiser.param_groups:
        for p in group["params"]:
            kept = dict(state.optimiser.state.get(p, {}))
            if kept and "step" in group:  # LAMB counts for all
                kept["step"] = torch.tensor(float(group["step"]))
            found |= {f"optimiser/{kind}/{k}/{names[p]}": v for k, v in kept.items() if isinstance(v, Tensor)}
    return found


def give(state: State, carried: Mapping[str, Tensor]) -> int:
    """Put in the buffers of the parameters that are there in the same shape; of how many there were any."""
    prefix, given = f"optimiser/{_kind(state)}/", 0
    by_name: dict[str, dict[str, Tensor]] = {}
    for key, value in carried.items():
        if key.startswith(prefix):
            buffer, _, name = key.removeprefix(prefix).partition("/")
            by_name.setdefault(name, {})[buffer] = value
    names = {p: name for name, p in state.net.named_parameters()}
    for group in state.optimiser.param_groups:
        for p in group["params"]:
            kept = by_name.get(names[p], {})
            if not kept or any(v.ndim and v.shape != p.shape for v in kept.values()):
                continue
            given += 1
            if "step" in group:
                group["step"] = max(group["step"], int(kept.pop("step", torch.tensor(0))))
            state.optimiser.state[p] |= {k: _placed(v, p, bool(group.get("fused"))) for k, v in kept.items()}
    return given


def _kind(state: State) -> str:
    return type(state.optimiser).__name__.lower()


def _placed(value: Tensor, p: Tensor, fused: bool) -> Tensor:
    """The buffer where the optimiser's kernel looks for it, in the parameter's layout; a copy."""
    if value.ndim == 0 and p.ndim:
        return value.detach().clone().to(p.device if fused else "cpu")
    return torch.empty_like(p, dtype=value.dtype, requires_grad=False).copy_(value)


# -- by way of a file -----------------------------------------------------------------------------------------------


def of_run(folder: Path, net: nn.Module, recipe: Recipe) -> dict[str, Tensor]:
    """What a run's last whole state has to carry for its net; nothing where there is no state.

    Raises DataError if the state is another net's.
    """
    saved = next((s for n in ("last", "previous") if (s := read_state(folder / "state" / f"{n}.pt"))), None)
    if saved is None:
        return {}
    state = begin(copy.deepcopy(net).train(), recipe, Engine("cpu"))
    try:
        state.load_state_dict(saved["train"])
    except (KeyError, RuntimeError, ValueError) as e:
        raise DataError(f"{folder}: its last state is not its model's: give the model file alone") from e
    if state.step == 0:
        return {}
    averaged = {} if state.ema.decay is None else {f"training/{k}": v for k, v in state.net.state_dict().items()}
    updates = {"average/updates": torch.tensor(state.ema.updates)} if averaged else {}
    return buffers(state) | averaged | updates


def take_up(state: State, carried: Mapping[str, Tensor]) -> tuple[Decision, ...]:
    """Go on with what a model file carried, in place, as far as the recipe has a use for it; and what was decided."""
    if not carried:
        return ()
    kinds = {k.split("/")[1] for k in carried if k.startswith("optimiser/")}
    total = sum(1 for p in state.net.parameters() if p.requires_grad)
    told = []
    if _kind(state) in kinds:
        given = give(state, carried)
        why = "carried by the weights' file; those of new units start at zero"
        told.append(Decision("optimiser state", f"{given} of {total} parameters", why, "--recipe"))
    elif kinds:
        why = f"the weights' file carries that of {', '.join(sorted(kinds))}, not of {_kind(state)}"
        told.append(Decision("optimiser state", "begins anew", why, "--set optimiser"))
    if state.ema.decay is not None and "average/updates" in carried:
        ours = state.net.state_dict()
        raw = {k.removeprefix("training/"): v for k, v in carried.items() if k.startswith("training/")}
        state.net.load_state_dict(ours | {k: v for k, v in raw.items() if k in ours and v.shape == ours[k].shape})
        state.ema.updates = int(carried["average/updates"])
        told.append(Decision("average", f"after {state.ema.updates} updates", "carried by the weights' file", ""))
    return tuple(told)
