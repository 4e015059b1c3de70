"""Which server is asked to follow the Open Inference Protocol: ours, or any other.

Without more, a server of ours with a small net is started. For another one say where it is:

    OIP_URL=http://host:8000 OIP_MODEL=name [OIP_GRPC=host:8001] [OIP_INPUTS=a,b] pytest tests/conformance

`OIP_INPUTS` are the inputs to give where a model does not need all that its metadata list; they are numbers.
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import httpx
import numpy as np
import pytest

NUMBERS = {
    "UINT8": np.uint8, "INT8": np.int8, "UINT16": np.uint16, "INT16": np.int16, "UINT32": np.uint32, "INT32": np.int32,
    "UINT64": np.uint64, "INT64": np.int64, "FP32": np.float32, "FP64": np.float64, "BOOL": np.bool_,
}  # fmt: skip


@dataclass(frozen=True, eq=False)
class Target:
    """A server and one of its models."""

    url: str
    model: str
    rpc: str | None
    chosen: tuple[str, ...]
    client: httpx.Client

    @property
    def base(self) -> str:
        """The model's path."""
        return f"/v2/models/{self.model}"

    def get(self, path: str) -> httpx.Response:
        return self.client.get(path)

    def metadata(self) -> dict[str, Any]:
        return self.get(self.base).json()

    def arrays(self, n: int = 2, seed: int = 0) -> dict[str, np.ndarray]:
        """Numbers for the inputs: n rows each, free sides of 5."""
        made, numbers = {}, np.random.default_rng(seed)
        for of in self.metadata()["inputs"]:
            if self.chosen and of["name"] not in self.chosen:
                continue
            if of["datatype"] not in NUMBERS:
                pytest.skip(f"input {of['name']} takes {of['datatype']}: say which inputs to give (OIP_INPUTS)")
            free = [side if side != -1 else 5 for side in of["shape"]]
            shape = [n, *free[1:]] if of["shape"][0] == -1 else free
            made[of["name"]] = numbers.uniform(0, 2, shape).astype(NUMBERS[of["datatype"]])
        return made

    def request(self, arrays: dict[str, np.ndarray], nested: bool = False, **more: Any) -> dict[str, Any]:
        """An inference request in JSON."""
        kinds = {t["name"]: t["datatype"] for t in self.metadata()["inputs"]}
        inputs = [
            {"name": k, "datatype": kinds[k], "shape": list(v.shape), "data": (v if nested else v.ravel()).tolist()}
            for k, v in arrays.items()
        ]
        return {"inputs": inputs, **more}

    def infer(self, document: Any, path: str = "") -> httpx.Response:
        return self.client.post(f"{self.base}{path}/infer", json=document)

    def outputs(self, document: Any) -> dict[str, np.ndarray]:
        """The outputs of a good answer, as arrays."""
        answer = self.infer(document)
        assert answer.status_code == 200, answer.text
        found = {}
        for t in answer.json()["outputs"]:
            kind = NUMBERS.get(t["datatype"], np.object_)
            found[t["name"]] = np.array(t["data"], kind).reshape(t["shape"])
        return found


@pytest.fixture(scope="session")
def target(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    """The server in question."""
    if url := os.environ.get("OIP_URL"):
        chosen = tuple(filter(None, os.environ.get("OIP_INPUTS", "").split(",")))
        with httpx.Client(base_url=url, timeout=60) as client:
            yield Target(url, os.environ["OIP_MODEL"], os.environ.get("OIP_GRPC"), chosen, client)
        return
    from residua.serve.hosted import Hosted, Machine
    from serve.conftest import classifier, serving

    file = classifier(tmp_path_factory.mktemp("conformance") / "small.safetensors", classes=("a", "b", "c", "d"))
    with (
        serving([Hosted("small", file, Machine("cpu"))], farewell_seconds=0.0) as there,
        httpx.Client(base_url=there.url, timeout=60) as client,
    ):
        yield Target(there.url, "small", there.rpc, ("tensor",), client)
