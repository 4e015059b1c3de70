"""An explanation agrees with the model's own answer, keeps its place, and says what it cannot tell."""

import json
from functools import partial

import pytest
import torch

from acceptance import picture
from explain.conftest import CPU, net_of, view_of
from residua.data.decode import BadPicture
from residua.errors import UsageError
from residua.explain import METHODS, Explainer, Explanation, Photo, Unread, photo
from residua.explain.units import CLOSE

CLASSES = ("ant", "bee", "moth", "wasp")
KEYS = {
    "name", "prediction", "probability", "classes", "probabilities", "target", "target_probability", "logit", "nothing",
    "units", "bare", "bare_logit", "bare_leads", "missed", "points", "scores",
}  # fmt: skip


def pixels(seed: int = 0, height: int = 30, width: int = 40) -> torch.Tensor:
    return torch.from_numpy(picture(height, width, seed).transpose(2, 0, 1).copy())


def explainer(name: str = "cifar_resnet14", **words: object) -> Explainer:
    return Explainer(net_of(name), CLASSES, view_of(16, resize_px=18), CPU, **words)


def photos(made: Explainer, n: int = 3) -> list[Photo]:
    return [photo(f"{i}.png", lambda mode, least_px, i=i: (pixels(i), None), made.view) for i in range(n)]


@pytest.mark.parametrize("temperature", [None, 2.5])
def test_the_answer_is_the_nets_own(temperature):
    made = explainer(temperature=temperature)
    shown = photos(made)
    with torch.no_grad():
        logits = made.net(torch.stack([p.seen for p in shown]))
    p = (logits / (temperature or 1)).softmax(1)
    for i, one in enumerate(made.explain(shown)):
        best = int(p[i].argmax())
        assert one.name == f"{i}.png" and one.label == one.target == CLASSES[best]
        assert one.probabilities[0] == one.target_probability == pytest.approx(float(p[i, best]), abs=1e-5)
        assert one.logit == pytest.approx(float(logits[i, best]), abs=1e-4)
        assert sorted(one.classes) == sorted(CLASSES) and sum(one.probabilities) == pytest.approx(1, abs=1e-5)
        assert one.depth.units[-1].added == pytest.approx(one.target_probability, abs=1e-4)
        assert one.depth.units[-1].leads == one.label


def test_depth_adds_up_to_the_logit_and_has_a_share_of_every_unit():
    made = explainer()
    for one in made.explain(photos(made)):
        due = one.logit - one.depth.bare_logit
        assert abs(sum(u.contribution for u in one.depth.units) - due) <= CLOSE * max(1, abs(due)) + 1e-4
        assert [u.unit for u in one.depth.units] == [f"stages.{s}.{u}" for s in range(3) for u in range(2)]
        assert [u.stage for u in one.depth.units] == [0, 0, 1, 1, 2, 2]


def test_points_are_bounded_where_asked():
    made = explainer(most_points=16)
    assert all(e.depth.points == 16 for e in made.explain(photos(made)))


def test_a_class_that_is_asked_for_is_explained_and_the_answer_stays():
    made = explainer()
    own = made.explain(photos(made, 1))[0]
    asked = made.explain(photos(made, 1), made.target("wasp"))[0]
    assert asked.target == "wasp" and (asked.label, asked.probabilities) == (own.label, own.probabilities)
    rank = asked.classes.index("wasp")
    assert asked.target_probability == asked.probabilities[rank]
    with pytest.raises(UsageError, match="did you mean wasp"):
        made.target("wesp")


@pytest.mark.parametrize("method", METHODS)
def test_every_method_fills_the_views_square(method):
    made = explainer("cifar_resnet8", method=method)
    for one in made.explain(photos(made, 2)):
        assert one.heat.shape == (16, 16) and one.heat.min() >= 0
        assert one.heat.max() == 1 or not one.heat.any()
        assert one.overlay().size == (40, 30) and [i.size for i in one.small(8, 20)] == [(20, 15)] * 2
    assert made.place == (None if method in ("occlusion", "integrated-gradients") else "stages.2")


def test_json_is_words_and_numbers():
    made = explainer()
    item = json.loads(json.dumps(made.explain(photos(made, 1))[0].to_json(), allow_nan=False))
    assert item.keys() == KEYS and item["scores"] is None
    assert item["units"][0].keys() == {"unit", "stage", "contribution", "added", "leads"}
    plain = explainer("cifar_plain14")
    item = plain.explain(photos(plain, 1))[0].to_json()
    assert item["units"] == [] and item.keys() == KEYS - {"bare", "bare_logit", "bare_leads", "missed", "points"}


def test_a_net_whose_map_is_empty_says_so():
    made = explainer()
    made.net.head[-1].weight.data.zero_()
    one = made.explain(photos(made, 1))[0]
    assert not one.heat.any() and one.to_json()["nothing"] is True


@pytest.mark.parametrize("name, why", [("cifar_plain14", "no shortcuts"), ("vgg11_bn", "no residual units")])
def test_maps_are_also_there_where_depth_is_not_and_one_line_says_why(name, why):
    made = Explainer(net_of(name), CLASSES, view_of(32), CPU)
    one = made.explain(photos(made, 1))[0]
    assert one.depth is None and why in made.why_not and "\n" not in made.why_not and one.heat.shape == (32, 32)


def test_words_that_do_not_exist_are_said():
    for words, said in (({"method": "gradcam"}, "did you mean grad-cam"), ({"stage": 3}, "stages 0 to 2")):
        with pytest.raises(UsageError, match=said):
            explainer(**words)


def test_a_stage_with_few_places_is_noted_with_the_one_that_has_more():
    made = explainer()  # 16 px: 16, 8 and 4 places a side
    assert made.notes == [] and [made.places(s) for s in range(3)] == [(16, 16), (8, 8), (4, 4)]
    small = Explainer(net_of("cifar_resnet14"), CLASSES, view_of(8), CPU)
    assert small.notes == ["stages.2 tells only 2 x 2 places apart on a view of 8 px: --stage 1 tells 4 x 4"]
    assert Explainer(net_of("cifar_resnet14"), CLASSES, view_of(8), CPU, method="occlusion").notes == []


def test_what_cannot_be_read_keeps_its_place_and_batches_change_nothing():
    made = explainer("cifar_resnet8")

    def decoded(i, mode, least_px):
        if i in (0, 3):
            raise BadPicture(f"{i}", "not an image")
        return pixels(i), None

    named = [(str(i), partial(decoded, i)) for i in range(5)]
    alone, together = (list(made.stream(named, batch_size=n)) for n in (1, 4))
    assert [type(e) for e in together] == [Unread, Explanation, Explanation, Unread, Explanation]
    assert together[0] == alone[0] == Unread("0", "not an image")
    for a, b in zip(alone, together, strict=True):
        assert a.name == b.name
        if isinstance(a, Explanation):
            assert a.label == b.label and torch.allclose(a.heat, b.heat, atol=1e-3)
    assert made.explain([]) == [] and list(made.stream([])) == []


def test_a_grey_net_sees_grey_and_people_see_colour():
    torch.manual_seed(0)
    from residua.nn.zoo import build

    view = view_of(8, mode="L", mean=(0.0,), std=(1.0,))
    asked = []

    def decoded(mode, least_px):
        asked.append(mode)
        return pixels()[: 3 if mode == "RGB" else 1], None

    seen = photo("a", decoded, view)
    assert asked == ["RGB", "L"] and seen.pixels.shape[0] == 3 and seen.seen.shape == (1, 8, 8)
    made = Explainer(build("cifar_resnet8", classes=4, channels=1).eval(), CLASSES, view, CPU)
    assert made.explain([seen])[0].overlay().mode == "RGB" and made.places(2) == (2, 2)


def test_scores_and_likeness_are_of_the_target():
    made = explainer("cifar_resnet8")
    one = made.explain(photos(made, 1), 3)[0]
    scores = made.judged(one)
    assert all(0 <= v <= 1 for v in (scores.insertion, scores.deletion, scores.insertion_random))
    assert made.judged(one) == scores
    assert list(made.likeness([one])) == ["head", "stages.2", "stages.1", "stages.0", "stem"]
