"""Laws of several models, and that `eval`, `predict` and training say the same bit for bit."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from residua import predict
from residua.data.view import View
from residua.errors import DataError, UsageError
from residua.nn import modelfile
from residua.nn.modelfile import Header
from residua.nn.zoo import build, find
from residua.pair import pair
from residua.predict.jury import juror, verdict

CLASSES = ("bright", "dark", "middling")
CROP = View(side_px=12, fit="crop", resize_px=14, mode="RGB", mean=(0.5, 0.4, 0.3), std=(0.2, 0.3, 0.25))


@pytest.fixture
def photos(tmp_path):
    """A folder of three classes of photos of odd sizes."""
    random = np.random.default_rng(0)
    for name in CLASSES:
        (tmp_path / "photos" / name).mkdir(parents=True)
        for i in range(5):
            Image.fromarray(random.integers(0, 256, (15 + i, 23 - i, 3), dtype=np.uint8)).save(
                tmp_path / "photos" / name / f"{i}.{'png' if i % 2 else 'jpg'}"
            )
    return tmp_path / "photos"


@pytest.fixture
def model(tmp_path):
    """A function that writes a net that was never trained."""

    def make(name, classes=CLASSES, view=CROP, temperature=None, arch="cifar_resnet8"):
        row = replace(find(arch), classes=len(classes), channels=view.channels)
        torch.manual_seed(sum(map(ord, name)))
        path = tmp_path / f"{name}.safetensors"
        modelfile.save(path, build(row), Header(row=row, classes=classes, view=view.to_json(), temperature=temperature))
        return path

    return make


def judged(*paths, data, **words):
    tasks = [pair(p, str(data), split="all") for p in paths]
    return verdict([juror(t, t.engine(device="cpu", workers=0), **words) for t in tasks], 4), tasks[0]


def by_name(found, task):
    """The probabilities of each picture by class name."""
    return {
        task.names[i]: {found.classes[c]: p for c, p in zip(best, row, strict=True)}
        for i, best, row in zip(found.index.tolist(), found.top5.tolist(), found.top5_probability.tolist(), strict=True)
    }


@pytest.mark.parametrize("count", [1, 2])
def test_eval_and_predict_give_the_same_probabilities_bit_for_bit(model, photos, count):
    grey = replace(CROP, mode="L", mean=(0.5,), std=(0.2,), fit="pad")
    paths = [model("a", temperature=1.7), model("b", CLASSES[::-1], grey, temperature=0.4)][:count]
    (found, _), task = judged(*paths, data=photos)
    several = predict.together([predict.load(p, device="cpu") for p in paths])
    said = several.predict([photos / n for n in task.names], batch_size=4)
    evaluated = by_name(found, task)
    for name, r in zip(task.names, said, strict=True):
        assert dict(zip(r.classes, r.probabilities, strict=True)) == evaluated[name]


def test_an_ensemble_is_the_mean_of_its_members_whatever_the_order_of_their_classes(model, photos):
    paths = [model("a", temperature=2.0), model("b", CLASSES[::-1])]
    (both, members), task = judged(*paths, data=photos)
    alone = [by_name(*((found := judged(p, data=photos))[0][0], found[1])) for p in paths]
    for name, mean in by_name(both, task).items():
        for c, p in mean.items():
            assert p == pytest.approx((alone[0][name][c] + alone[1][name][c]) / 2, abs=1e-6)
    assert [m.wrong for m in members] == [judged(p, data=photos)[0][0].wrong for p in paths]


def test_a_model_with_itself_is_that_model(model, photos):
    path = model("a")
    (both, _), _ = judged(path, path, data=photos)
    (one, _), _ = judged(path, data=photos)
    np.testing.assert_allclose(both.losses, one.losses, rtol=1e-5)


@pytest.mark.parametrize("words", [{"word": "ten-crop"}, {"word": "multi-scale", "scales": (12, 20)}])
def test_every_way_of_looking_answers_for_every_picture(model, photos, words):
    (found, _), task = judged(model("a", temperature=1.5), data=photos, **words)
    assert found.n == task.n == 15 and np.isfinite(found.losses).all()
    np.testing.assert_allclose(found.top5_probability.sum(1), 1, atol=1e-5)


def test_models_that_do_not_belong_together_are_refused_in_one_line(model, photos):
    first, other = model("a"), model("b", (*CLASSES[:2], "grey"))
    with pytest.raises(DataError, match="class 'middling' is known to one model of the ensemble only"):
        predict.together([predict.load(p, device="cpu") for p in (first, other)])
    with pytest.raises(UsageError, match="take --views ten-crop"):
        view = replace(CROP, side_px=63, resize_px=63)
        judged(model("v", arch="alexnet", view=view), data=photos, word="multi-scale")


def test_a_view_that_makes_other_channels_than_the_net_takes_is_refused(model, photos, tmp_path):
    path = model("a")
    net, header = modelfile.load(path)
    view = replace(CROP, mode="L", mean=(0.5,), std=(0.2,))
    modelfile.save(path, net, replace(header, view=view.to_json()), overwrite=True)
    for use in (lambda: predict.load(path), lambda: pair(path, str(photos), split="all")):
        with pytest.raises(DataError, match="its net takes 3 channels, its view makes 1"):
            use()
