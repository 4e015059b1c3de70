"""A folder of JPEG photos to a CSV: Residua's runtimes beside torchvision's own model, transforms and DataLoader.

Makes a model (random weights, so what it says does not matter; its accuracy decides nothing here) and JPEG photos of
500 x 375, crops of scikit-learn's two sample photos, in a temporary folder. Models are loaded and graphs prepared
before the clock runs; what that takes is told beside (`prepare_seconds`, and `load_seconds` with the graph kept).

A case for each runtime and precision, in pictures/s:
- ours: `Model.answered` over the folder, written as CSV.
- torchvision, default: its net, eager and fp32, its transforms, DataLoader without workers, batches of 64, a CSV.
- torchvision, best: the same with the number of workers and the batch that are fastest on a part of the folder; and
  once more with the memory of freed maps kept, which ours does by itself. Each in a process of its own.
- the raw engine: that runtime alone, by hand, on a tensor that lies ready; nothing is read (goal: 0.9 of it).
And a case for each of one picture at a time, in ms: `Model.predict` of a decoded photo beside the fastest raw engine of
that precision on a tensor (goal: 1/1.1 of it).

    python bench/predict.py       # where there is a GPU on it, torchvision's net in bf16 and channels_last
    python bench/predict.py --net resnet18 --pictures 64 --rounds 1 --runs openvino:fp32 onnx:fp32
"""

import argparse
import csv
import os
import shutil
import tempfile
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset
from torchvision import models, transforms
from torchvision.datasets.folder import pil_loader

from residua.nn import modelfile
from residua.nn.zoo import build, find
from residua.predict import Model, pictures, write
from residua.runtimes import loading
from residua.runtimes.words import Int8
from serve import IMAGENET, VIEW, photos
from side_by_side import KEPT, Side, alone, case, milliseconds, tell

BATCH = 64
CLASSES = tuple(f"class {i:03}" for i in range(1000))
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
RUNS = {
    "cpu": ("eager:fp32", "openvino:fp32", "onnx:fp32", "compiled:fp32", "openvino:bf16", "openvino:int8", "onnx:int8"),
    "cuda": ("eager:bf16", "compiled:bf16", "eager:fp32"),
}


def make_photos(folder: Path, n: int) -> list[str]:
    """JPEG files in ten class folders, so that int8 finds labels."""
    made = photos()
    names = []
    for i in range(n):
        path = folder / CLASSES[i % 10] / f"{i:05}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(made[i % len(made)] + i.to_bytes(4, "little"))  # none is another's copy
        names.append(str(path))
    return names


def make_model(path: Path, net: str) -> Path:
    """A model file with random weights."""
    torch.manual_seed(0)
    row = replace(find(net), classes=len(CLASSES))
    modelfile.save(path, build(row), modelfile.Header(row=row, classes=CLASSES, view=VIEW.to_json()))
    return path


# -- the peer -------------------------------------------------------------------------------------------------------


class Files(Dataset):
    """Files as torchvision reads them, with the transforms that its weights come with."""

    def __init__(self, names: list[str]) -> None:
        """These files."""
        self.names = names
        self.transform = transforms.Compose(
            [
                transforms.Resize(256), transforms.CenterCrop(224), transforms.ToTensor(),
                transforms.Normalize(IMAGENET.mean, IMAGENET.std),
            ]
        )  # fmt: skip

    def __len__(self) -> int:
        """How many."""
        return len(self.names)

    def __getitem__(self, i: int) -> torch.Tensor:
        """Picture i as the net sees it."""
        return self.transform(pil_loader(self.names[i]))


def torchvision_rate(net: torch.nn.Module, names: list[str], out: Path, workers: int, batch: int) -> float:
    """Pictures/s of the usual script."""
    began, done = time.perf_counter(), 0
    on, layout = at_its_best(net)
    with open(out, "w", newline="") as file, torch.inference_mode(), on:
        writer = csv.writer(file)
        for images in DataLoader(Files(names), batch, num_workers=workers, pin_memory=DEVICE == "cuda"):
            values, best = net(images.to(DEVICE, memory_format=layout, non_blocking=True)).softmax(1).topk(5)
            for p, c in zip(values.tolist(), best.tolist(), strict=True):
                writer.writerow([names[done], *(v for i, q in zip(c, p, strict=True) for v in (CLASSES[i], q))])
                done += 1
    return done / (time.perf_counter() - began)


def at_its_best(net: torch.nn.Module) -> tuple[AbstractContextManager[object], torch.memory_format]:
    """On a GPU the net in channels_last and bf16; on a CPU as it is."""
    if DEVICE == "cpu":
        return nullcontext(), torch.contiguous_format
    net.to(DEVICE, memory_format=torch.channels_last)
    return torch.autocast(DEVICE, torch.bfloat16), torch.channels_last


def best_loader(folder: Path, args: argparse.Namespace) -> tuple[int, int]:
    """The fastest number of workers and batch on a part of the folder."""
    cores = os.cpu_count() or 1
    tried = [(w, b) for w in sorted({0, 1, 2, cores // 2, cores}) for b in (16, BATCH)]
    some = max(BATCH, args.pictures // 4)
    return max(tried, key=lambda how: peer_rate(folder, args.net, some, *how))


def peer_rate(folder: Path, net: str, pictures: int, workers: int, batch: int, **environment: str) -> float:
    """torchvision's rate on so many photos of a folder, in a process of its own."""
    words = ["--net", net, "--pictures", str(pictures), "--peer", str(folder), str(workers), str(batch)]
    return float(alone(*words, **environment))


def peer(args: argparse.Namespace) -> float:
    """The same in this process."""
    folder, workers, batch = args.peer
    names = sorted(str(p) for p in (Path(folder) / "photos").rglob("*.jpg"))[: args.pictures]
    net = getattr(models, args.net)().eval().to(DEVICE)
    on, layout = at_its_best(net)
    with torch.inference_mode(), on:
        net(torch.zeros(int(batch), 3, 224, 224, device=DEVICE).to(memory_format=layout))
    return torchvision_rate(net, names, Path(folder) / "peer.csv", int(workers), int(batch))


# -- engines by hand ------------------------------------------------------------------------------------------------


def raw(graph: Path, runtime: str, precision: str, model: Model) -> tuple[Callable[[np.ndarray], object], str]:
    """What a runtime does with a batch, by hand, set up as its own documentation has it for throughput."""
    threads = torch.get_num_threads()
    if runtime == "onnx":
        import onnxruntime

        session = onnxruntime.InferenceSession(str(graph / "net.onnx"), providers=["CPUExecutionProvider"])
        name = session.get_inputs()[0].name
        return lambda x: session.run(None, {name: x}), "InferenceSession as it comes"
    if runtime == "openvino":
        import openvino

        hint = {"PERFORMANCE_HINT": "THROUGHPUT", "INFERENCE_NUM_THREADS": threads}
        hint["INFERENCE_PRECISION_HINT"] = "bf16" if precision == "bf16" else "f32"
        compiled = openvino.Core().compile_model(graph / "net.xml", "CPU", hint)
        queue = openvino.AsyncInferQueue(compiled)

        def run(x: np.ndarray) -> None:
            for part in np.array_split(x, len(queue)):
                queue.start_async([part], share_inputs=True)
            queue.wait_all()

        return run, f"AsyncInferQueue, THROUGHPUT, {len(queue)} requests"
    if runtime == "eager":

        def alone_eager(x: np.ndarray) -> torch.Tensor:
            with torch.inference_mode(), model.engine.autocast():
                return model.net(model.engine.move(torch.from_numpy(x))).cpu()

        return alone_eager, "the net itself"
    assert model.run is not None
    compiled_run = model.run
    return lambda x: compiled_run(torch.from_numpy(x)).cpu(), "the compiled net itself"


def one_by_one(graph: Path, runtime: str, precision: str, model: Model) -> Callable[[np.ndarray], object]:
    """What a runtime does with one picture, set up for latency."""
    if runtime != "openvino":
        return raw(graph, runtime, precision, model)[0]
    import openvino

    hint = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": "bf16" if precision == "bf16" else "f32"}
    request = openvino.Core().compile_model(graph / "net.xml", "CPU", hint).create_infer_request()
    return lambda x: request.infer([x], share_inputs=True)


def rate(run: Callable[[np.ndarray], object], batch: int, seconds: float) -> float:
    """Pictures/s of a batch again and again."""
    x = np.random.default_rng(0).standard_normal((batch, 3, 224, 224), np.float32)
    run(x)
    began, done = time.perf_counter(), 0
    while time.perf_counter() - began < seconds:
        run(x)
        done += batch
    return done / (time.perf_counter() - began)


# -- cases ----------------------------------------------------------------------------------------------------------


def loaded(path: Path, runtime: str, precision: str, folder: Path) -> tuple[Model, float]:
    """The model with a runtime, and the seconds that it took."""
    int8 = Int8(str(folder), 100.0) if precision == "int8" else None
    began = time.perf_counter()
    model = loading.load(
        path, runtime=runtime, precision="fp32" if int8 else precision, int8=int8, pictures=10**6, tell=print_error
    )
    return model, time.perf_counter() - began


def print_error(line: str) -> None:
    """A runtime that falls back would be measured under a wrong name."""
    if "calibrating" not in line:
        raise SystemExit(line)


def main() -> None:
    """Measure each case and print a line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--net", default="resnet50", help="the net; torchvision has to have it too")
    parser.add_argument("--pictures", type=int, default=512, help="photos in the folder")
    parser.add_argument("--rounds", type=int, default=3, help="how often each side is measured, in turn")
    parser.add_argument("--seconds", type=float, default=5.0, help="how long a raw engine is measured")
    parser.add_argument("--runs", nargs="+", default=RUNS[DEVICE], metavar="RUNTIME:PRECISION", help="what is measured")
    parser.add_argument("--peer", nargs=3, metavar=("PLACE", "WORKERS", "BATCH"), help="print torchvision's rate alone")
    args = parser.parse_args()
    if args.peer:
        print(peer(args))
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        os.environ["RESIDUA_CACHE"] = str(folder / "cache")  # graphs are made here, so that making them is measured
        names = make_photos(folder / "photos", args.pictures)
        path = make_model(folder / "model.safetensors", args.net)
        best = best_loader(folder, args)
        for run in args.runs:
            measure(*run.split(":"), folder, path, names, best, args)
            shutil.rmtree(folder / "cache", ignore_errors=True)


def measure(
    runtime: str, precision: str, folder: Path, path: Path, names: list[str], best: tuple[int, int],
    args: argparse.Namespace,
) -> None:  # fmt: skip
    """Both cases of a runtime in a precision."""
    _, prepare = loaded(path, runtime, precision, folder / "photos")
    model, load = loaded(path, runtime, precision, folder / "photos")
    out = folder / "ours.csv"
    graph = next((p for p in (folder / "cache" / "runtimes").glob("*") if p.is_dir()), folder)
    engine, engine_settings = raw(graph, runtime, precision, model)

    def ours() -> float:
        began = time.perf_counter()
        write(model.answered(pictures(str(folder / "photos")), batch_size=BATCH), out)
        return len(names) / (time.perf_counter() - began)

    workers, batch = best
    kind = "eager, fp32, contiguous" if DEVICE == "cpu" else "eager, bf16, channels_last"
    hand = f"{kind}, {workers} workers, batch {batch}"
    sides = [Side("torchvision, best", hand, lambda: peer_rate(folder, args.net, len(names), *best))]
    if DEVICE == "cpu":
        sides += [
            Side("torchvision, best, memory kept", f"{hand}, MALLOC_*_THRESHOLD_",
                 lambda: peer_rate(folder, args.net, len(names), *best, **KEPT)),
            Side("torchvision, default", f"{kind}, 0 workers, batch {BATCH}",
                 lambda: peer_rate(folder, args.net, len(names), 0, BATCH)),
        ]  # fmt: skip
    sides.append(Side(f"{runtime} alone, nothing read", engine_settings, lambda: rate(engine, BATCH, args.seconds)))
    settings = f"--runtime {runtime}, {precision}, {model.engine.threads} threads, batch {BATCH}"
    facts = {"prepare_seconds": round(prepare, 2), "load_seconds": round(load, 2)}
    title = f"{args.net} at 224 px, {runtime} {precision}"
    line = case(
        f"predict {title}: {len(names)} photos to a CSV", "pictures/s", Side("ours", settings, ours), sides,
        rounds=args.rounds, goal="4x of torchvision at its best, 0.9 of the engine alone", **facts,
    )  # fmt: skip
    tell(line)
    photo = np.asarray(pil_loader(names[0]))
    x = np.random.default_rng(0).standard_normal((1, 3, 224, 224), np.float32)
    alone = one_by_one(graph, runtime, precision, model)
    line = case(
        f"predict {title}: one photo", "ms",
        Side("ours", settings, lambda: milliseconds(lambda: model.predict(photo), 2)),
        [Side(f"{runtime} alone, one tensor", "for latency", lambda: milliseconds(lambda: alone(x), 2))],
        rounds=args.rounds, more=False, goal="at most 1.1 of the engine alone",
    )  # fmt: skip
    tell(line)


if __name__ == "__main__":
    main()
