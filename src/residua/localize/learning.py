"""What a batch of pictures teaches a localizer: the losses of both looks, and their gradient."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional
from torchvision.ops import complete_box_iou_loss

from residua.boxes.batches import BoxBatch, sliced
from residua.boxes.dataset import Target
from residua.data.dataset import Indices
from residua.engine import Engine
from residua.localize.localizer import Answers, Localizer, beside, centred, edges, overlap, within
from residua.training.recipe import Recipe
from residua.training.state import State
from residua.training.step import Asked, Learn, in_parts, loss_of

#: An anchor that overlaps a true box at least so much, or best of all, is on the thing.
OVERLAP = 0.5
#: Of a picture so many of the surest places are learned from by the second look, one at a step.
LEARNED = 32


@dataclass(frozen=True, eq=False)
class Losses:
    """What a batch costs: the parts of the loss by name, and how many pictures were answered wrongly."""

    parts: Mapping[str, Tensor]
    wrong: Tensor

    @property
    def total(self) -> Tensor:
        """The sum."""
        return torch.stack([v.float() for v in self.parts.values()]).sum()


@dataclass(frozen=True, eq=False)
class Truth:
    """What N pictures show: classes (N,), and of each up to G boxes (N, G, 4), those that `there` (N, G) says are."""

    classes: Tensor
    boxes: Tensor
    there: Tensor

    def best(self, boxes: Tensor) -> tuple[Tensor, Tensor]:
        """The true box that each of the boxes (N, M, 4) overlaps best, (N, M, 4), and how much, (N, M)."""
        every = overlap(boxes[:, :, None], self.boxes[:, None]) * self.there[:, None]  # (N, M, G)
        found, which = every.max(2)
        return self.boxes.gather(1, which[..., None].expand(-1, -1, 4)), found


def truth_of(targets: Sequence[Target], classes: Tensor, device: torch.device | str = "cpu") -> Truth:
    """The truth of pictures whose classes are known, also where an augmentation left no box."""
    most = max(1, *(len(t.labels) for t in targets))
    boxes = torch.zeros(len(targets), most, 4)
    there = torch.zeros(len(targets), most, dtype=torch.bool)
    for i, t in enumerate(targets):
        boxes[i, : len(t.labels)] = torch.from_numpy(t.boxes)
        there[i, : len(t.labels)] = True
    return Truth(classes.to(device), boxes.to(device), there.to(device))


def losses(answers: Answers, truth: Truth, recipe: Recipe) -> Losses:
    """What the answers cost: the class, as a classifier learns it; the boxes of the anchors on the thing; and the
    surety: of the true class how much each anchor's box overlaps the truth, of all other classes that nothing is there.

    Anchors on and beside the thing weigh the same, as the paper's equal draws of both would on average. A picture that
    shows no box says its class alone. How this differs from the paper: docs/deviations.md.
    """
    logits, n = answers.logits.float(), len(truth.classes)
    wrong = (logits.detach().argmax(1) != truth.classes).sum()
    surety, boxes = (x[:, 0] for x in answers.of(truth.classes[:, None]))  # (N, M), (N, M, 4)
    nearest, near = truth.best(edges(answers.anchors).expand(n, -1, -1))
    shown = truth.there.any(1, keepdim=True)
    here = ((near >= OVERLAP) | (near == near.amax(1, keepdim=True))) & shown
    each = surety_loss(surety, truth.best(boxes.detach())[1])
    own = (mean_where(each, here) + mean_where(each, ~here)) / 2
    mine = functional.one_hot(truth.classes, logits.shape[1]).bool()
    other = functional.softplus(answers.surety.float()).mean(1).masked_fill(mine, 0)  # (N, K)
    parts = {
        "classes": loss_of(logits, truth.classes, recipe),
        "boxes": box_loss(boxes, nearest, here),
        "surety": (own * shown[:, 0]).mean() + other.sum() / max(1, n * (logits.shape[1] - 1)),
    }
    return Losses(parts, wrong)


def second_losses(net: Localizer, images: Tensor, truth: Truth) -> Losses:
    """What the second look costs at one of the surest places of each picture's class, drawn at random: R-CNN's
    training, centred on regions (He et al. 2015, appendix C). Wrong is what ends up beside the thing."""
    n, size = len(images), (images.shape[3], images.shape[2])
    with torch.no_grad():
        surety, boxes = (x[:, 0] for x in net(images).of(truth.classes[:, None]))
        places = surety.topk(min(LEARNED, surety.shape[1])).indices
        drawn = places.gather(1, torch.randint(places.shape[1], (n, 1)).to(places.device))
        boxes = within(boxes.gather(1, drawn[..., None].expand(-1, -1, 4)), size)[:, 0]
    own = torch.arange(n, device=images.device)
    again, numbers = net.looked(images, boxes, own, truth.classes)
    better = beside(centred(boxes), numbers)[:, None]
    nearest, near = truth.best(boxes[:, None])
    found = truth.best(better.detach())[1]
    shown = truth.there.any(1, keepdim=True)
    parts = {
        "boxes": box_loss(better, nearest, (near >= OVERLAP) & shown),
        "surety": (surety_loss(again[:, None], found) * shown).mean(),
    }
    return Losses(parts, (shown & (found < OVERLAP)).sum())


def mean_where(values: Tensor, here: Tensor) -> Tensor:
    """The mean of some of each row's values (N, M); 0 of none."""
    return (values * here).sum(1) / here.sum(1).clamp(min=1)


def surety_loss(surety: Tensor, overlaps: Tensor) -> Tensor:
    """Binary cross-entropy of logits against overlaps, each on its own."""
    return functional.binary_cross_entropy_with_logits(surety, overlaps, reduction="none")


def box_loss(boxes: Tensor, nearest: Tensor, here: Tensor) -> Tensor:
    """How far boxes (N, M, 4) are from the nearest true ones where `here` (N, M): the mean of each picture's mean.

    Source: complete IoU, Zheng et al. 2019, arXiv:1911.08287.
    """
    each = complete_box_iou_loss(boxes[here], nearest[here], reduction="none")
    share = (1 / here.sum(1, keepdim=True).clamp(min=1)).expand_as(here)[here]
    loss: Tensor = (each * share).sum() / len(here)
    return loss


class Lesson(nn.Module):
    """A localizer with what its answers cost: images and the truth -> the whole loss, and how many answers are wrong.

    With a second look, that alone learns.
    """

    def __init__(self, net: Localizer, recipe: Recipe) -> None:
        """Of a localizer, whose parameters learn."""
        super().__init__()
        self.net, self.recipe = net, recipe

    def forward(self, images: Tensor, truth: Truth) -> tuple[Tensor, Tensor]:
        """The loss and the error."""
        second = self.net.refiner is not None
        cost = second_losses(self.net, images, truth) if second else losses(self.net(images), truth, self.recipe)
        return cost.total, cost.wrong


def learning(recipe: Recipe, engine: Engine, classes: Indices) -> Learn:
    """What a batch says to a `Lesson`, slice by slice; `classes` are those of all pictures of the split."""

    def learn(state: State, batch: BoxBatch) -> Tensor:
        def ask(part: BoxBatch) -> Asked:
            truth = truth_of(part.targets, torch.from_numpy(classes[part.index]), engine.device)
            with engine.autocast():
                return *state.model(engine.move(part.images), truth), len(part)

        return in_parts(state, list(sliced(batch, recipe.batch_size // state.slices)), ask, pictures=len(batch))

    return learn
