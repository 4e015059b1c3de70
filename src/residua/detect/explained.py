"""Why did a detector find this? Which proposals it looked at, and which map each of them and each answer came from."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor
from torchvision.models.detection.image_list import ImageList
from torchvision.models.detection.rpn import concat_box_prediction_layers
from torchvision.ops import clip_boxes_to_image

from residua.boxes.draw import COLOURS, DARK
from residua.boxes.view import laid, scales
from residua.data.decode import Source, as_image, decode, size_of
from residua.detect.predict import DetectorModel

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Proposals:
    """Where the net thought that something is, the surest first: boxes (n, 4) in pixels of the file, objectness (n,),
    and the stride of the map whose anchors they come from (n,)."""

    boxes: Floats
    objectness: Floats
    stride: npt.NDArray[np.int64]


@dataclass(frozen=True)
class Reason:
    """One detection: what and where, and the proposal that it was made of.

    `anchor_stride` is the stride of the map that proposed it, `region_stride` that of the map its region was read from.
    """

    label: str
    score: float
    box: tuple[float, ...]
    proposal: tuple[float, ...]
    objectness: float
    anchor_stride: int
    region_stride: int


@dataclass(frozen=True, eq=False)
class Explained:
    """A picture's proposals and the reasons of its detections, the surest first."""

    name: str
    size: tuple[int, int]
    proposals: Proposals
    reasons: tuple[Reason, ...]

    def to_json(self) -> dict[str, Any]:
        """Words and numbers: proposals are counted by the map they come from."""
        strides, counts = np.unique(self.proposals.stride, return_counts=True)
        return {
            "path": self.name, "height": self.size[0], "width": self.size[1],
            "proposals": {str(s): int(n) for s, n in zip(strides.tolist(), counts.tolist(), strict=True)},
            "detections": [vars(r) for r in self.reasons],
        }  # fmt: skip


def explain(model: DetectorModel, name: str, source: Source) -> Explained:
    """Look at a picture as the detector does, and keep what it looked at. Raises BadPicture."""
    size, view = size_of(source), model.header.view
    picture = view.picture(source, size)
    sides = (picture.shape[1], picture.shape[2])
    images = model.engine.move(view.normalise(laid([picture], view.colours.mean_colour)))
    net, back = model.net, scales(size, sides)
    with torch.inference_mode(), model.engine.autocast():
        maps = net.backbone(images)
        rpn, roi = net.rpn, net.roi_heads
        listed = ImageList(images, [sides])
        found = list(maps.values())
        objectness, numbers = rpn.head(found)
        anchors = rpn.anchor_generator(listed, found)
        each = [o[0].numel() for o in objectness]
        flat, deltas = concat_box_prediction_layers(objectness, numbers)
        every = rpn.box_coder.decode(deltas, anchors).view(1, -1, 4)
        (boxes,), (surety,) = rpn.filter_proposals(every, flat, [sides], each)
        levels = torch.repeat_interleave(torch.arange(len(each)), torch.tensor(each))
        anchor_level = levels[same(clip_boxes_to_image(every[0], sides).cpu(), boxes.cpu())]
        pooled = roi.box_roi_pool(maps, [boxes], [sides])
        logits, edges = roi.box_predictor(roi.box_head(pooled))
        (kept,), (scores,), (labels,) = roi.postprocess_detections(logits, edges, [boxes], [sides])
        made = clip_boxes_to_image(roi.box_coder.decode(edges, [boxes]), sides).cpu()  # (R, K + 1, 4)
    strides = np.array([*(net.row.strides[s] for s in net.row.stages), 2 * net.row.strides[net.row.stages[-1]]])
    level = np.zeros(len(boxes), np.int64)
    if len(net.row.stages) > 1:
        level = roi.box_roi_pool.map_levels([boxes]).cpu().numpy()
    anchor_stride = strides[anchor_level.numpy()]
    places = boxes.double().cpu().numpy() / back
    reasons = []
    for box, score, label in zip(kept.cpu(), scores.tolist(), labels.tolist(), strict=True):
        i = int((made[:, label] == box).all(1).int().argmax())
        reasons.append(Reason(
            model.classes[label - 1], float(score), tuple((box.double().numpy() / back).round(2).tolist()),
            tuple(places[i].round(2).tolist()), float(surety[i]), int(anchor_stride[i]), int(strides[level[i]]),
        ))  # fmt: skip
    proposals = Proposals(places, surety.double().cpu().numpy(), anchor_stride)
    return Explained(name, size, proposals, tuple(reasons))


def same(every: Tensor, some: Tensor) -> Tensor:
    """The position in `every` (n, 4) of each of `some` (m, 4), which are among them."""
    found = [int((every == box).all(1).int().argmax()) for box in some]
    return torch.tensor(found, dtype=torch.int64)


# -- drawing --------------------------------------------------------------------------------------------------------


def drawn(of: Explained, source: Source, *, threshold: float, proposals: int = 60, side_px: int = 720) -> Image.Image:
    """The surest proposals beside what became of them; the colour is the map's. Words are in the first line."""
    photo = as_image(decode(source, "RGB"))
    scale = side_px / max(photo.size)
    photo = photo.resize([max(1, round(n * scale)) for n in photo.size], Image.Resampling.LANCZOS)
    strides = sorted({*of.proposals.stride.tolist(), *(r.region_stride for r in of.reasons)})
    colours = {s: COLOURS[i % len(COLOURS)] for i, s in enumerate(strides)}
    font = ImageFont.load_default(size=15)
    left, right = photo.copy(), photo.copy()
    pen = ImageDraw.Draw(left)
    for box, stride in list(zip(of.proposals.boxes, of.proposals.stride.tolist(), strict=True))[:proposals][::-1]:
        pen.rectangle([float(v) * scale for v in box], outline=colours[stride], width=2)
    pen = ImageDraw.Draw(right)
    for r in [r for r in of.reasons if r.score >= threshold][::-1]:
        box = [v * scale for v in r.box]
        pen.rectangle(box, outline=colours[r.region_stride], width=3)
        words = f"{r.label} {100 * r.score:.0f} %"
        place = pen.textbbox((box[0] + 3, max(0, box[1] - 18)), words, font=font)
        pen.rectangle((place[0] - 3, place[1] - 2, place[2] + 3, place[3] + 2), fill=colours[r.region_stride])
        pen.text((box[0] + 3, max(0, box[1] - 18)), words, fill=DARK, font=font)
    head, gap = 34, 12
    out = Image.new("RGB", (2 * photo.width + gap, photo.height + head), "white")
    out.paste(left, (0, head))
    out.paste(right, (photo.width + gap, head))
    pen = ImageDraw.Draw(out)
    x = 0.0
    pen.text((x, 8), f"the {min(proposals, len(of.proposals.boxes))} surest proposals, by map:", fill=DARK, font=font)
    x += pen.textlength(f"the {min(proposals, len(of.proposals.boxes))} surest proposals, by map:  ", font=font)
    for s in strides:
        pen.rectangle((x, 10, x + 14, 24), fill=colours[s])
        pen.text((x + 19, 8), f"1/{s}", fill=DARK, font=font)
        x += 34 + pen.textlength(f"1/{s}", font=font)
    pen.text((photo.width + gap, 8), "what became of them, by the map that it was read from", fill=DARK, font=font)
    return out
