"""Laws of evaluations that run out of memory: fewer pictures at a time, each once, the same counts, one line."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from residua.data.batches import Batch
from residua.data.view import STATISTICS, View
from residua.engine import Engine
from residua.evaluate import Sparing, evaluate
from residua.evaluate.looks import ten_crop
from residua.nn.modelfile import Header
from residua.nn.zoo import build, find
from residua.predict import Model

CPU = Engine(device="cpu")
N, K = 23, 4
ERROR = "[enforce fail at alloc_cpu.cpp:124] DefaultCPUAllocator: can't allocate memory: you tried to allocate 1 bytes"


class Small(nn.Module):
    """A net in a memory that holds the maps of `most` pictures."""

    def __init__(self, most, error=None):
        super().__init__()
        torch.manual_seed(0)
        self.net, self.most, self.seen = build("cifar_resnet8", classes=K), most, []
        self.error = RuntimeError(ERROR) if error is None else error

    def forward(self, x):
        self.seen.append(len(x))
        if len(x) > self.most:
            raise self.error
        return self.net(x)


def batches(side=9):
    torch.manual_seed(1)
    images, labels = torch.randn(N, 3, side, side), torch.arange(N) % K
    return [Batch(images[i : i + 10], labels[i : i + 10], np.arange(i, min(N, i + 10))) for i in range(0, N, 10)]


@pytest.mark.parametrize("look", [None, ten_crop(8)])
def test_an_evaluation_that_runs_out_of_memory_counts_each_picture_once_and_alike(look):
    told, words = [], {} if look is None else {"look": look}
    whole = evaluate(Small(99), batches(), [f"c{i}" for i in range(K)], CPU, **words)
    small = Small(3)
    found = evaluate(small, batches(), [f"c{i}" for i in range(K)], CPU, tell=told.append, **words)
    assert np.array_equal(found.predictions, whole.predictions) and found.wrong == whole.wrong and found.n == N
    np.testing.assert_allclose(found.losses, whole.losses, rtol=1e-5)
    assert told == [f"memory ran out: {n} pictures at a time in evaluation, the same ones" for n in (5, 2)]
    assert small.seen[:2] == [10, 5] and max(small.seen[2:]) == 2


def test_one_picture_too_many_and_other_errors_end_it():
    for net, expected in (Small(0), MemoryError), (Small(3, RuntimeError("shapes do not match")), RuntimeError):
        with pytest.raises(expected, match=r"single picture|shapes"):
            evaluate(net, batches(), [f"c{i}" for i in range(K)], CPU, tell=lambda line: None)


def test_a_model_goes_on_answering_with_fewer_pictures_at_a_time():
    told, colours = [], STATISTICS["imagenet"]
    view = View(side_px=9, fit="crop", resize_px=9, mode="RGB", mean=colours.mean, std=colours.std)
    names = tuple(f"c{i}" for i in range(K))
    header = Header(row=replace(find("cifar_resnet8"), classes=K), classes=names, view=view.to_json())
    small, whole = (
        Model(net, header, view, CPU, sparing=Sparing(told.append)) for net in (Small(2), Small(99))
    )  # fmt: skip
    images = batches()[0].images
    torch.testing.assert_close(small.scores(images), whole.scores(images), rtol=1e-5, atol=1e-6)
    assert len(told) == 2 and small.sparing.most == 2
    small.scores(images)
    assert len(told) == 2


def test_what_memory_has_once_allowed_is_asked_for_from_then_on():
    sparing, small = Sparing(lambda line: None), Small(4)
    with torch.no_grad():
        for _ in range(2):
            sparing.logits(small.eval(), batches()[0].images)
    assert small.seen == [10, 5, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2]
