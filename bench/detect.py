"""Images per second of training and using a detector: Residua's beside a plain loop around torchvision's Faster R-CNN.

On pictures with boxes in any format that `residua detect` reads. Ours: what `residua detect train` decides for them.
Peer: a loop as torchvision's references have it, around `FasterRCNN` on `resnet18` with its pyramid, in bf16 where the
CPU has it: `VOCDetection`-like items decoded by Pillow in a DataLoader of two workers, pictures scaled by the model's
own transform to the same short side. "as it is" has torchvision's numbers for proposals, regions and widths; "with our
numbers" has ours (half the pyramid, a quarter of the regions), so that what is left is the loop, the data and the
pooling. All in one process, turn by turn; the best threads for both, and freed memory kept for both (`residua.heap`).

Prints one JSON line a comparison: medians over the rounds, their ratio and its range, hardware and versions.

    python bench/detect.py ./cells
    python bench/detect.py ./cells --images 40 --rounds 1
"""

import argparse
import json
import os
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset
from torchvision.models import resnet18
from torchvision.models.detection import FasterRCNN
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.backbone_utils import _resnet_fpn_extractor
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor, TwoMLPHead
from torchvision.models.detection.rpn import RPNHead
from torchvision.ops import FeaturePyramidNetwork
from torchvision.ops.feature_pyramid_network import LastLevelMaxPool
from torchvision.transforms.v2 import functional as tv

from residua.boxes.batches import each_once
from residua.detect.detector import wanted
from residua.detect.run import detected, learning
from residua.job.boxes.session import begun
from residua.job.detection import RECIPES, DetectOptions
from residua.job.detection.plan import Plan, prepare
from residua.job.record import processor
from residua.nn.modelfile import versions
from residua.training.loop import fit


class Plain(Dataset):  # type: ignore[type-arg]
    """Pictures and targets as the references give them: decoded whole, mirrored at random."""

    def __init__(self, plan: Plan, images: int) -> None:
        """Of the training pictures."""
        self.split, self.images = plan.dataset.splits["train"], images

    def __len__(self) -> int:
        """How many."""
        return min(self.images, len(self.split))

    def __getitem__(self, i: int) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        """A picture in [0, 1], and its boxes."""
        image = tv.pil_to_tensor(Image.open(self.split.images.paths[i]).convert("RGB")).float() / 255
        (target,) = wanted([self.split.targets[i]])
        if torch.rand(()) < 0.5:
            image = image.flip(-1)
            boxes = target["boxes"]
            target["boxes"] = torch.stack(
                [image.shape[-1] - boxes[:, 2], boxes[:, 1], image.shape[-1] - boxes[:, 0], boxes[:, 3]], 1
            )
        return image, target


def peer(plan: Plan, *, ours: bool) -> FasterRCNN:
    """torchvision's detector with its own numbers, or with ours."""
    torch.manual_seed(0)
    row, view = plan.row, plan.view
    backbone = _resnet_fpn_extractor(resnet18(norm_layer=torch.nn.BatchNorm2d), 5)
    words: dict[str, Any] = {
        "min_size": view.short_px, "max_size": view.long_px, "image_mean": list(view.mean), "image_std": list(view.std)
    }  # fmt: skip
    if not ours:
        return FasterRCNN(backbone, row.classes + 1, **words)
    backbone.fpn = FeaturePyramidNetwork([64, 128, 256, 512], row.pyramid_width, extra_blocks=LastLevelMaxPool())
    backbone.out_channels = row.pyramid_width
    anchors = AnchorGenerator(row.anchor_sizes, (row.anchor_ratios,) * len(row.anchor_sizes))
    (pre, post), (pre_test, post_test) = row.proposals_train, row.proposals_test
    return FasterRCNN(
        backbone, None, rpn_anchor_generator=anchors, rpn_head=RPNHead(row.pyramid_width, len(row.anchor_ratios)),
        rpn_pre_nms_top_n_train=pre, rpn_post_nms_top_n_train=post, rpn_pre_nms_top_n_test=pre_test,
        rpn_post_nms_top_n_test=post_test, box_batch_size_per_image=row.regions,
        box_head=TwoMLPHead(row.pyramid_width * 49, row.head_width),
        box_predictor=FastRCNNPredictor(row.head_width, row.classes + 1), **words,
    )  # fmt: skip


def plain_training(plan: Plan, images: int, *, ours: bool) -> Callable[[], int]:
    """An epoch of the plain loop, at the end of which it says how many pictures it saw."""
    net = peer(plan, ours=ours).train()
    optimiser = torch.optim.SGD(net.parameters(), 0.005, momentum=0.9, weight_decay=1e-4)
    loader = DataLoader(
        Plain(plan, images), plan.recipe.batch_size, shuffle=True, drop_last=True, num_workers=2,
        collate_fn=lambda rows: tuple(zip(*rows, strict=True)),
    )  # fmt: skip

    def epoch() -> int:
        seen = 0
        for pictures, targets in loader:
            with autocast(plan):
                losses = net(list(pictures), list(targets))
                loss = sum(losses.values())
            optimiser.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(net.parameters(), 10.0)
            optimiser.step()
            seen += len(pictures)
        return seen

    return epoch


def plain_use(plan: Plan, images: int, *, ours: bool) -> Callable[[], int]:
    """Detections of every picture by torchvision's detector."""
    net = peer(plan, ours=ours).eval()
    loader = DataLoader(
        Plain(plan, images), 8, num_workers=2, collate_fn=lambda rows: tuple(zip(*rows, strict=True))
    )  # fmt: skip

    def once() -> int:
        with torch.inference_mode(), autocast(plan):
            return sum(len(net(list(pictures))) for pictures, _ in loader)

    return once


def autocast(plan: Plan) -> Any:
    """bf16 where ours uses it."""
    return torch.autocast("cpu", torch.bfloat16, enabled=plan.engine.precision == "bf16")


def our_training(plan: Plan, images: int) -> Callable[[], int]:
    """Steps of ours, as many as the plain loop's."""
    state, batches = begun(plan), plan.batches()
    learn, steps = (
        learning(plan.recipe, plan.engine),
        min(images, len(plan.dataset.splits["train"])) // plan.recipe.batch_size,
    )

    def epoch() -> int:
        stop = state.step + steps
        for _ in fit(state, batches, plan.recipe, plan.engine, learn=learn, stop=stop):
            pass
        return steps * plan.recipe.batch_size

    return epoch


def our_use(plan: Plan, images: int) -> Callable[[], int]:
    """Detections of every picture by ours, decoded anew."""
    net = plan.engine.place(plan.net(), lambda line: None).eval()
    pictures = replace(plan.pictures["train"], kept=())
    pictures = replace(pictures, split=pictures.split.take(range(min(images, len(pictures.split)))))

    def once() -> int:
        return sum(1 for _ in detected(net, each_once(pictures, 8, 2), plan.engine))  # type: ignore[arg-type]

    return once


def rates(makers: dict[str, Callable[[], int]], rounds: int) -> dict[str, list[float]]:
    """Images a second of each, turn by turn; the first turn does not count."""
    found: dict[str, list[float]] = {name: [] for name in makers}
    for turn in range(rounds + 1):
        for name, run in makers.items():
            began = time.perf_counter()
            n = run()
            if turn:
                found[name].append(n / (time.perf_counter() - began))
    return found


def lines(what: str, found: dict[str, list[float]], **beside: Any) -> Iterator[dict[str, Any]]:
    """A line for each peer."""
    ours = found.pop("ours")
    for name, peers in found.items():
        ratios = [a / b for a, b in zip(ours, peers, strict=True)]
        yield {
            "name": f"{what} beside torchvision's Faster R-CNN {name}", "unit": "images/s",
            "ours": round(statistics.median(ours), 2), "peer": round(statistics.median(peers), 2),
            "ratio": round(statistics.median(ratios), 2), "spread": [round(min(ratios), 2), round(max(ratios), 2)],
            "n": len(ratios), **beside,
        }  # fmt: skip


def main() -> None:
    """Measure, and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data")
    parser.add_argument("--images", type=int, default=80, help="of the training pictures, a round")
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    plan = prepare(DetectOptions(data=args.data, recipe=RECIPES["quick"]))
    beside = {
        "image_px": plan.view.short_px, "batch": plan.recipe.batch_size, "precision": plan.engine.precision,
        "hardware": {"processor": processor(), "cores": os.cpu_count()}, "versions": versions(),
    }  # fmt: skip
    for what, mine, theirs in (("training", our_training, plain_training), ("detecting", our_use, plain_use)):
        makers = {
            "ours": mine(plan, args.images),
            "as it is": theirs(plan, args.images, ours=False),
            "with our numbers": theirs(plan, args.images, ours=True),
        }
        for line in lines(what, rates(makers, args.rounds), **beside):
            print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main()
