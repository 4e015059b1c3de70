"""Weights that others publish, by name: from torchvision's server, or from the Hugging Face hub. No torch at import."""

import json
import re
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.request import getproxies

from residua.errors import DataError, UsageError
from residua.nn.arch import Arch, Row
from residua.nn.zoo import ROWS, find

#: The word for torchvision's weights of the net that is asked for.
IMAGENET = "imagenet"
#: Nets that are not asked for by name: what ``imagenet`` alone brings.
USUAL = "resnet18"
#: What a repository on the hub may hold its weights in, the first that is there.
FILES = ("model.safetensors", "pytorch_model.bin")


@dataclass(frozen=True)
class Fetched:
    """A file with published weights, the net they are for, and where they are from."""

    path: Path
    row: Row
    source: str


def published(name: str) -> bool:
    """Whether a word names published weights rather than a file: ``imagenet``, ``torchvision/NET[:WEIGHTS]`` or
    ``OWNER/NAME`` of the Hugging Face hub, where no such file is there.
    """  # fmt: skip
    if Path(name).exists():
        return False
    return name == IMAGENET or (re.fullmatch(r"[\w-]+/[\w.:-]+", name) is not None and not _like_a_file(name))


def _like_a_file(name: str) -> bool:
    return name.endswith((".safetensors", ".pth", ".pt", ".th", ".bin", ".ckpt")) or Path(name).parent.exists()


def fetch(name: str, arch: str = "auto") -> Fetched:
    """The published weights of a name, downloaded once and kept where torch or the hub keep theirs.

    Raises UsageError for a name that does not exist or without huggingface_hub, DataError where there is no network.
    """
    if name == IMAGENET:
        return _torchvision(USUAL if arch == "auto" else arch, "DEFAULT")
    owner, _, rest = name.partition("/")
    if owner == "torchvision":
        net, _, weights = rest.partition(":")
        if arch not in ("auto", net):
            raise UsageError(f"--weights {name} are a {net}'s, not a {arch}'s: leave --arch out")
        return _torchvision(net, weights or "DEFAULT")
    if get_close_matches(owner, ["torchvision"], cutoff=0.85):
        raise UsageError(f"--weights {name}: did you mean torchvision/{rest}?")
    return _hub(name, arch)


def entry_of(net: str, weights: str) -> Any:
    """torchvision's entry of some weights of one of its nets: `url` and `meta`. Raises UsageError for unknown ones."""
    from torchvision.models import get_model_weights

    known = get_model_weights(net)
    try:
        return known[weights]
    except KeyError:
        have = ", ".join(known.__members__)
        raise UsageError(f"torchvision has no weights {weights} of {net}: take {have}") from None


def _torchvision(net: str, weights: str) -> Fetched:
    row = find(net)
    try:
        entry = entry_of(net, weights)
    except ValueError:
        have = ", ".join(n for n in ROWS if not n.startswith(("preact", "plain")) and "200" not in n)
        raise UsageError(f"torchvision publishes no weights of {net}; it has those of {have}") from None
    return Fetched(downloaded(str(entry.url), net), row, f"torchvision/{net}:{entry.name}")


def downloaded(url: str, net: str) -> Path:
    """The file of weights that torchvision publishes, downloaded once. Raises DataError where there is no network."""
    import torch

    path = Path(torch.hub.get_dir()) / "checkpoints" / url.rpartition("/")[2]
    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        digest = re.search(r"-([0-9a-f]{8,})\.", path.name)
        try:
            torch.hub.download_url_to_file(url, str(path), digest[1] if digest else None)
        except (OSError, RuntimeError) as e:  # no network; a file that is not what was published
            raise DataError(_offline(f"torchvision/{net}", e, url, net)) from e
    return path


def _hub(name: str, arch: str) -> Fetched:
    try:
        from huggingface_hub import hf_hub_download
        from huggingface_hub.constants import ENDPOINT
        from huggingface_hub.errors import EntryNotFoundError, HfHubHTTPError, LocalEntryNotFoundError
    except ImportError:
        raise UsageError(f"--weights {name} needs huggingface_hub: pip install 'residua[hub]'") from None
    # Without a network the hub would be asked six times over: what was downloaded before is there at once.
    get = partial(hf_hub_download, name, local_files_only=not reachable(ENDPOINT))
    try:
        row = find(arch) if arch != "auto" else row_of(_json(get("config.json")), name)
        unread = None
        for file in FILES:
            try:
                return Fetched(Path(get(file)), row, name)
            except LocalEntryNotFoundError as e:  # not here, and nobody could be asked; the next may have been kept
                unread = e
            except EntryNotFoundError:
                continue
        if unread is not None:
            raise unread
        raise DataError(f"{name} on the Hugging Face hub holds none of {', '.join(FILES)}")
    except (HfHubHTTPError, OSError) as e:
        raise DataError(_offline(name, e, f"https://huggingface.co/{name}", "NAME")) from e


def reachable(url: str) -> bool:
    """Whether the name of a server is known here; behind a proxy only that one need know it."""
    if getproxies():
        return True
    try:
        return bool(socket.getaddrinfo(urlsplit(url).hostname, 443))
    except OSError:
        return False


def _json(path: str) -> Mapping[str, Any]:
    found = json.loads(Path(path).read_text(encoding="utf-8"))
    return found if isinstance(found, dict) else {}


def row_of(config: Mapping[str, Any], name: str) -> Row:
    """The net that a hub's config.json describes: transformers' ResNets and timm's. Raises UsageError for others."""
    architecture = str(config.get("architecture", ""))
    timm = re.sub(r"^resnetv2_(\d+)$", r"preact_resnet\1", architecture)
    if timm in ROWS:
        return find(timm)
    if config.get("model_type") == "resnet":
        branch = "basic" if config.get("layer_type") == "basic" else "bottleneck"
        shape = (tuple(config.get("depths", ())), tuple(config.get("hidden_sizes", ())), branch)
        for known, row in ROWS.items():
            if isinstance(row, Arch) and row.family == "resnet" and (row.depths, row.widths, row.branch) == shape:
                return find(f"{known}_v1" if config.get("downsample_in_bottleneck") else known)
    what = architecture or str(config.get("model_type", "")) or "an unknown net"
    raise UsageError(f"{name} is {what}, which is none of the nets of `residua archs`: name one by --arch")


def _offline(name: str, error: Exception, url: str, net: str) -> str:
    reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
    if type(error).__name__ == "LocalEntryNotFoundError":
        reason = "no network"
    return (
        f"{name} cannot be downloaded ({reason[:120]}): fetch {url} where there is a network, "
        f"then --weights FILE --arch {net}"
    )
