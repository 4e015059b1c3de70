"""Laws of the net that names and places: its parts against torchvision's, its losses, its independence of company."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torchvision.models.detection._utils import BoxCoder
from torchvision.ops import box_iou

from residua.boxes.dataset import Target
from residua.errors import UsageError
from residua.localize.learning import losses, second_losses, truth_of
from residua.localize.localizer import RegionHead, agreed, beside, build, centred, overlap, within
from residua.localize.recipes import RECIPES
from residua.localize.row import LocalizerRow, row_from_json, row_to_json
from residua.nn.zoo import find

ANCHORS = ((24.0, 24.0), (40.0, 20.0))
PLAIN = replace(RECIPES["quick"], label_smoothing=0.0)


def row(net: str = "cifar_resnet20", **words) -> LocalizerRow:
    return LocalizerRow(net=replace(find(net), classes=3), anchors=ANCHORS, **words)


def target(*boxes, label: int = 0) -> Target:
    n = len(boxes)
    none = np.zeros(n, np.bool_)
    return Target(np.array(boxes, np.float32).reshape(n, 4), np.full(n, label, np.int64), none, none)


def some_boxes(n: int, seed: int = 0) -> torch.Tensor:
    torch.manual_seed(seed)
    corner, sides = torch.rand(n, 2) * 40, torch.rand(n, 2) * 30 + 1
    return torch.cat([corner, corner + sides], 1)


def test_boxes_are_coded_as_torchvision_codes_them():
    anchors, numbers = some_boxes(50), torch.randn(50, 4)
    coder = BoxCoder((1.0, 1.0, 1.0, 1.0))
    assert torch.allclose(beside(centred(anchors), numbers), coder.decode_single(numbers, anchors), atol=1e-4)
    wanted = coder.encode_single(some_boxes(50, 1), anchors)
    assert torch.allclose(beside(centred(anchors), wanted), some_boxes(50, 1), atol=1e-3)


def test_overlaps_are_torchvisions():
    a, b = some_boxes(30), some_boxes(20, 1)
    assert torch.allclose(overlap(a[:, None], b[None]), box_iou(a, b), atol=1e-6)


def test_the_region_head_has_a_logit_and_a_box_for_each_class_at_each_anchor():
    torch.manual_seed(0)
    head = RegionHead(8, 8, 2, 3).eval()
    x = torch.randn(2, 8, 4, 5)
    surety, numbers = head(x)
    flat = head.surety(head.shared(x))
    each = head.numbers(head.shared(x))
    y, across, a, k = 3, 2, 1, 2
    place = (y * 5 + across) * 2 + a
    assert surety.shape == (2, 40, 3) and numbers.shape == (2, 40, 3, 4)
    assert torch.equal(surety[:, place, k], flat[:, a * 3 + k, y, across])
    assert torch.equal(numbers[1, place, k], each[1, (a * 3 + k) * 4 : (a * 3 + k + 1) * 4, y, across])


def test_anchors_stand_on_the_places_of_the_map():
    net = build(row())
    anchors = net.anchors(2, 3, torch.device("cpu"))
    assert anchors.shape == (2 * 3 * 2, 4)
    assert anchors[0].tolist() == [2, 2, 24, 24] and anchors[-1].tolist() == [10, 6, 40, 20]


@pytest.mark.parametrize("net", ["cifar_resnet20", "wrn10_2", "cifar_preact164:1-1-1", "plain18"])
def test_the_classifier_within_answers_as_it_does_alone(net):
    torch.manual_seed(0)
    made = build(row(net)).eval()
    x = torch.randn(2, 3, 64, 64)
    with torch.inference_mode():
        assert torch.equal(made(x).logits, made.net(x))


def test_a_pre_activation_nets_map_is_normalised_before_it_is_shared():
    made = build(row("wrn10_2")).eval()
    seen = []
    made.region.register_forward_pre_hook(lambda module, given: seen.append(given[0]))
    made(torch.randn(1, 3, 32, 32))
    assert float(seen[0].detach().min()) >= 0  # a ReLU came last


def test_the_box_of_many_voices():
    surety = torch.tensor([[[3.0, 3.0, 2.9, -4.0]]])
    boxes = torch.tensor([[[[0.0, 0, 10, 10], [2, 0, 12, 10], [40, 40, 60, 60], [0, 0, 10, 10]]]])
    box, sure = agreed(surety, boxes)
    assert torch.allclose(box[0, 0], torch.tensor([1.0, 0, 11, 10]), atol=1e-3)  # the far one has no say
    assert sure[0, 0] == torch.sigmoid(torch.tensor(3.0))


def test_one_voice_without_area_is_an_answer_too():
    box, _ = agreed(torch.tensor([[[1.0]]]), torch.tensor([[[[5.0, 5, 5, 5]]]]))
    assert box[0, 0].tolist() == [5, 5, 5, 5]


def test_answers_do_not_depend_on_the_company():
    torch.manual_seed(0)
    net = build(row()).eval()
    x, classes = torch.randn(5, 3, 48, 48), torch.tensor([[0, 1], [1, 2], [2, 0], [0, 2], [1, 0]])
    with torch.inference_mode():
        boxes, surety = net.places(net(x), classes, x)
        alone, sure = net.places(net(x[3:4]), classes[3:4], x[3:4])
    assert torch.allclose(boxes[3:4], alone, atol=1e-3) and torch.allclose(surety[3:4], sure, atol=1e-4)
    assert boxes.shape == (5, 2, 4) and float(boxes.min()) >= 0 and float(boxes.max()) <= 48


@pytest.mark.parametrize("net", ["cifar_resnet20", "wrn10_2"])
def test_steps_on_one_picture_learn_it_by_heart(net):
    torch.manual_seed(0)
    made = build(row(net)).train()
    x = torch.randn(2, 3, 48, 48)
    truth = truth_of([target((8, 10, 30, 40), label=1), target((4, 2, 44, 20), label=2)], torch.tensor([1, 2]))
    steps, rate, first = 150, 0.05, None
    optimiser = torch.optim.SGD(made.parameters(), lr=rate, momentum=0.9, nesterov=True)
    for i in range(steps):
        optimiser.param_groups[0]["lr"] = rate * (1 - i / steps)
        optimiser.zero_grad()
        cost = losses(made(x), truth, PLAIN)
        cost.total.backward()
        torch.nn.utils.clip_grad_norm_(made.parameters(), 5.0)
        optimiser.step()
        first = float(cost.total.detach()) if first is None else first
    assert float(cost.total.detach()) < 0.1 * first and int(cost.wrong) == 0
    for module in made.modules():  # the statistics of these two pictures, rather than of a long training
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = None
            module.reset_running_stats()
    with torch.no_grad():
        made(x)
        made.eval()
        boxes, _ = made.places(made(x), truth.classes[:, None], x)
    assert (overlap(boxes[:, 0], truth.boxes[:, 0]) > 0.8).all()


def test_a_picture_without_a_box_says_its_class_alone():
    torch.manual_seed(0)
    net = build(row()).train()
    x = torch.randn(2, 3, 48, 48)
    cost = losses(net(x), truth_of([target(), target()], torch.tensor([0, 1])), PLAIN)
    assert all(torch.isfinite(v) for v in cost.parts.values()) and float(cost.parts["boxes"].detach()) == 0
    cost.total.backward()
    assert all(torch.isfinite(p.grad).all() for p in net.parameters() if p.grad is not None)
    one = losses(net(x), truth_of([target((1, 1, 20, 20)), target()], torch.tensor([0, 1])), PLAIN)
    assert float(one.parts["boxes"].detach()) > 0


def test_of_several_boxes_the_nearest_is_meant():
    truth = truth_of([target((0, 0, 10, 10), (30, 30, 40, 40))], torch.tensor([0]))
    nearest, found = truth.best(torch.tensor([[[29.0, 30, 40, 40], [0, 0, 10, 9], [15, 15, 20, 20]]]))
    assert nearest[0, 0].tolist() == [30, 30, 40, 40] and nearest[0, 1].tolist() == [0, 0, 10, 10]
    assert torch.allclose(found[0], torch.tensor([10 / 11, 0.9, 0.0]), atol=1e-6)


def test_the_second_look_begins_by_leaving_boxes_as_they_are():
    torch.manual_seed(0)
    net = build(row(refined=True)).eval()
    x = torch.randn(2, 3, 48, 48)
    boxes = torch.tensor([[[[4.0, 4, 30, 30], [10, 2, 40, 44]]]]).expand(2, -1, -1, -1)
    with torch.inference_mode():
        surety, better = net.again(x, boxes, torch.tensor([[1], [2]]))
    assert torch.allclose(better, boxes, atol=1e-4) and surety.shape == (2, 1, 2)


def test_what_the_second_look_sees_of_a_picture_is_the_box_with_its_margin():
    net = build(row(refined=True)).eval()
    seen = []
    net.refiner.register_forward_pre_hook(lambda module, given: seen.append(given[0]))
    x = torch.zeros(1, 3, 40, 40)
    x[:, :, 12:28, 8:32] = 1.0  # 24 wide, 16 high
    net.looked(x, torch.tensor([[8.0, 12, 32, 28]]), torch.tensor([0]), torch.tensor([0]))
    (cut,) = seen
    assert cut.shape == (1, 3, 40, 40)
    rows, columns = cut[0, 0].mean(1), cut[0, 0].mean(0)
    assert float(cut[0, 0, 6:34, 6:34].min()) > 0.99  # a margin of a tenth of the cut
    assert float(rows[:2].max()) < 0.1 and float(columns[:2].max()) < 0.1


def test_the_second_look_learns_and_nothing_else_does():
    torch.manual_seed(0)
    net = build(row(refined=True)).train()
    x = torch.randn(2, 3, 48, 48)
    cost = second_losses(net, x, truth_of([target((8, 10, 30, 40)), target()], torch.tensor([0, 1])))
    cost.total.backward()
    learned = {name.split(".")[0] for name, p in net.named_parameters() if p.grad is not None}
    assert learned == {"refiner"} and torch.isfinite(cost.total)


def test_boxes_end_at_the_picture():
    assert within(torch.tensor([-3.0, 2, 50, 60]), (48, 40)).tolist() == [0, 2, 48, 40]


def test_a_row_is_written_and_read():
    made = row(refined=True, proposals=4)
    assert row_from_json(row_to_json(made)) == made
    with pytest.raises(UsageError, match="field of a localizer"):
        row_from_json(row_to_json(made) | {"ancors": []})
    with pytest.raises(UsageError, match="architecture"):
        row_from_json({"net": {}})
    with pytest.raises(UsageError, match="not a localizer"):
        row_from_json({"anchors": []})
    for bad in ((), ((0.0, 3.0),), ((1.0,),)):
        with pytest.raises(UsageError, match="anchors"):
            replace(made, anchors=bad)
