"""The net taken apart over HTTP: the numbers of `depth` and `explain`, and nothing that others notice."""

import asyncio
import base64
import threading
from dataclasses import replace

import pytest
import torch

from residua.data.view import View
from residua.depth.chain import chain, remainder, removable, run, without
from residua.depth.probe import Probe
from residua.engine import decide
from residua.evaluate import evaluating, tempered
from residua.explain.units import contributions
from residua.nn import modelfile
from residua.nn.cost import cost_of
from residua.nn.zoo import build, find
from residua.predict import Model, load
from residua.predict.inputs import decoded
from residua.serve.hosted import Hosted, Machine
from residua.serve.stack import DepthWish, Stack
from serve.conftest import CLASSES, classifier, picture, within
from serve.test_limits import Slow, until

PICTURE = picture(3, (23, 19))
PNG = {"content-type": "image/png"}
NETS = {
    "residual": "cifar_resnet14", "plain": "cifar_plain14", "pre": "cifar_preact20", "bottleneck": "resnet50:1-2-1-1",
}  # fmt: skip
WIDE = View(64, "crop", 64, "RGB", (0.5, 0.4, 0.3), (0.2, 0.2, 0.3))


@pytest.fixture(scope="module", params=["residual", "plain", "pre", "bottleneck"])
def net(request, tmp_path_factory):
    file = classifier(tmp_path_factory.mktemp("nets") / f"{request.param}.safetensors", 1, name=NETS[request.param])
    return Hosted(request.param, file, Machine("cpu"))


def asked(hosted: Hosted, *words: dict) -> list[dict]:
    """The answers for these words, one after the other."""

    async def test(here):
        answers = [await here.client.post("/v1/depth", params=w, content=PICTURE, headers=PNG) for w in words]
        assert [a.status_code for a in answers] == [200] * len(words), answers[0].text
        return [a.json() for a in answers]

    return within([hosted], test)


def by_hand(hosted: Hosted, off: list[str]) -> list[float]:
    """The probabilities of a net of the file, edited, that no server knows."""
    model = load(hosted.file, device="cpu")
    x = model.view.tensor(*decoded(PICTURE, model.view.mode, model.view.least_px))[None]
    with without(model.net, off):
        return model.probabilities([x])[0].tolist()


def named(answer: dict) -> list[float]:
    """Probabilities in the order of the classes."""
    found = dict(zip(answer["classes"], answer["probabilities"], strict=True))
    return [found[c] for c in CLASSES]


def test_with_all_units_the_answer_is_that_of_predict_bit_for_bit(net):
    async def test(here):
        plain = await here.client.post("/v1/predict?top=3", content=PICTURE, headers=PNG)
        deep = await here.client.post("/v1/depth?top=3&off=&contributions=no", content=PICTURE, headers=PNG)
        return plain.json()["predictions"][0], deep.json()

    said, deep = within([net], test)
    for answer in (deep["whole"], deep["reduced"]):
        assert (answer["classes"], answer["probabilities"]) == (said["classes"], said["probabilities"])
    assert deep["off"] == [] and deep["target"] == said["classes"][0]


def test_without_units_the_answer_is_that_of_the_net_which_lesion_edits(net):
    paths = [link.path for link in removable(load(net.file).net)]
    sets = [[p] for p in paths] + [paths[::2], paths]
    words = [{"off": ",".join(reversed(s)), "top": 4, "contributions": "no"} for s in sets]
    for off, said in zip(sets, asked(net, *words), strict=True):
        assert said["off"] == off and [u["unit"] for u in said["reduced"]["units"] if not u["on"]] == off
        assert named(said["reduced"]) == pytest.approx(by_hand(net, off), abs=1e-7)
        change = {c["class"]: (c["whole"], c["reduced"]) for c in said["change"]}
        assert [change[c] for c in CLASSES] == list(zip(named(said["whole"]), named(said["reduced"]), strict=True))


def test_the_first_k_units_are_the_net_by_hand_that_has_no_later_ones(net):
    model = load(net.file, device="cpu")
    links, n = chain(model.net), len(removable(model.net))
    x = model.view.tensor(*decoded(PICTURE, model.view.mode, model.view.least_px))[None]
    for k, said in enumerate(asked(net, *({"first": k, "top": 4, "contributions": "no"} for k in range(n + 1)))):
        kept = 0
        with evaluating(model.net), torch.inference_mode():
            y = x
            for link in links:
                y = link.module(y) if not link.removable or kept < k else remainder(link)(y)
                kept += link.removable
            wanted = tempered(y, 1.3).softmax(1)[0].tolist()
        assert named(said["reduced"]) == pytest.approx(wanted, abs=1e-7)


def test_contributions_are_those_of_explain_and_add_up_without_units_too(net):
    model = load(net.file, device="cpu")
    paths = [link.path for link in removable(model.net)]
    said, reason = asked(net, {"class": "cat", "off": paths[1]})[0], "a plain net has no shortcuts"
    if net.name == "plain":
        assert said["why_not"].startswith(reason) and said["whole"]["logit"] is None
        assert {u["contribution"] for u in said["whole"]["units"]} == {None}
        return
    x = model.view.tensor(*decoded(PICTURE, model.view.mode, model.view.least_px))[None]
    wanted = contributions(model.net, x, torch.tensor([CLASSES.index("cat")]), model.engine)
    found = [u["contribution"] for u in said["whole"]["units"]]
    assert found == pytest.approx(wanted.contribution[0].tolist(), abs=1e-6)
    rest = said["reduced"]
    assert rest["units"][1]["contribution"] is None and rest["bare_logit"] == pytest.approx(said["whole"]["bare_logit"])
    total = sum(u["contribution"] or 0 for u in rest["units"])
    assert total == pytest.approx(rest["logit"] - rest["bare_logit"], abs=abs(rest["missed"]) + 1e-4)


def test_strengths_are_those_that_the_probe_of_the_depth_room_reads(net):
    model = load(net.file, device="cpu")
    said = asked(net, {"contributions": "no"})[0]
    x = model.view.tensor(*decoded(PICTURE, model.view.mode, model.view.least_px))[None]
    with Probe(model.net, responses=False) as probe, evaluating(model.net), torch.inference_mode():
        run(chain(model.net), x)
    for unit in said["whole"]["units"]:
        assert (unit["ratio"], unit["cosine"]) == pytest.approx(probe.relations[unit["unit"]].means(), abs=1e-6)


def test_units_are_described_as_the_costs_of_the_net_have_them(net):
    async def test(here):
        return (await here.client.get(f"/v1/models/{net.name}/units")).json()

    said, model = within([net], test), load(net.file)
    rows = cost_of(model.net, 3, 12).layers
    assert said["kind"] == ("plain" if net.name == "plain" else "residual")
    for unit in said["units"]:
        mine = [r for r in rows if r.name.startswith(unit["unit"] + ".")]
        assert unit["params"] == sum(r.params for r in mine)
        assert unit["receptive_field"] == max(r.receptive_field for r in mine)
        assert unit["layers"] == (3 if net.name == "bottleneck" else 2)
    assert [u["receptive_field"] for u in said["units"]] == sorted(u["receptive_field"] for u in said["units"])


def test_nets_without_units_lose_layers_and_modules_instead():
    torch.manual_seed(0)
    row = replace(find("googlenet"), classes=4)
    header = modelfile.Header(row=row, classes=CLASSES, view=WIDE.to_json(), temperature=None)
    model = Model(build(row), header, WIDE, decide(device="cpu", precision="fp32", side_px=64, in_memory=False))
    stack, x = Stack(model), torch.rand(3, 64, 64)
    off = [stack.paths[1], stack.paths[4]]
    said = stack.answer(x, DepthWish(top=4, off=tuple(off)))
    with without(model.net, off):
        assert named(said["reduced"]) == pytest.approx(model.probabilities([x[None]])[0].tolist(), abs=1e-7)
    assert stack.to_json()["kind"] == "layers" and said["why_not"].startswith("this net has no residual units")
    assert [u["unit"] for u in stack.to_json()["units"]] == stack.paths


def test_a_picture_that_was_seen_is_asked_about_again_without_sending_it(hosted):
    async def test(here):
        first = (await here.client.post("/v1/depth?first=1", content=PICTURE, headers=PNG)).json()
        again = (await here.client.post("/v1/depth", json={"seen": first["seen"], "first": 1})).json()
        for i in range(40):
            await here.client.post("/v1/depth?contributions=no", content=picture(i), headers=PNG)
        return first, again, await here.client.post("/v1/depth", json={"seen": first["seen"]})

    first, again, late = within([hosted["classifier"]], test)
    assert first | {"name": None} == again
    assert late.status_code == 410 and "send it again" in late.json()["error"]


BAD = [
    ({"params": {"off": "stages.0.9"}}, 400, "unknown unit 'stages.0.9': did you mean"),
    ({"params": {"off": "stem"}}, 400, "unknown unit 'stem'"),
    ({"params": {"first": "4"}}, 400, "first is a whole number from 0 to 3"),
    ({"params": {"first": "-1"}}, 400, "first is a whole number"),
    ({"params": {"first": "1", "off": "stages.0.0"}}, 400, "say one of them"),
    ({"params": {"class": "bea"}}, 400, "did you mean bee"),
    ({"params": {"explain": "1"}}, 400, "unknown field 'explain'"),
    ({"params": {"contributions": "perhaps"}}, 400, "contributions is true or false"),
    ({"params": {"seen": "0" * 64}}, 400, "one picture is asked about at a time"),
    ({"content": b"words"}, 400, "not an image"),
    ({"content": b"x" * 7000}, 413, "longer than 6,000 bytes"),
    ({"content": None, "headers": {}, "json": {"pictures": ["AAAA", "AAAA"]}}, 400, "one picture is asked about"),
    ({"content": None, "headers": {}, "json": {"seen": "../x"}}, 400, "64 signs"),
    ({"content": None, "headers": {}, "json": {"seen": "0" * 64, "off": [1]}}, 400, "off is a list of units"),
    ({"content": None, "headers": {}, "json": {"seen": "0" * 64}}, 410, "not in memory any more"),
    ({"params": {"model": "nobody"}}, 404, "no model 'nobody'"),
]  # fmt: skip


def test_what_is_wrong_with_a_question_is_said_in_one_line(hosted):
    async def test(here):
        usual = {"content": PICTURE, "headers": PNG}
        asks = [{k: v for k, v in (usual | request).items() if v is not None} for request, _, _ in BAD]
        return [await here.client.post("/v1/depth", **ask) for ask in asks]

    answers = within([hosted["classifier"]], test, body_bytes=6000)
    for answer, (request, status, words) in zip(answers, BAD, strict=True):
        error = answer.json()["error"]
        assert answer.status_code == status and words in error and "\n" not in error, (request, error)


def test_models_for_boxes_have_no_units_to_show_and_say_so(hosted):
    async def test(here):
        asks = [await here.client.get(f"/v1/models/{m}/units") for m in ("detector", "localizer")]
        return [*asks, await here.client.post("/v1/depth?model=detector", content=PICTURE, headers=PNG)]

    answers = within(list(hosted.values()), test)
    assert [a.status_code for a in answers] == [400] * 3
    assert all("units are shown of models for classification" in a.json()["error"] for a in answers)


def test_forms_json_and_bare_bytes_are_the_same_question(hosted):
    async def test(here):
        post = here.client.post
        whole = base64.b64encode(PICTURE).decode()
        asks = [
            post("/v1/depth?first=2", content=PICTURE, headers=PNG),
            post("/v1/depth", files=[("files", ("a.png", PICTURE, "image/png"))], data={"first": "2"}),
            post("/v1/depth", json={"pictures": [whole], "first": 2}),
            post("/v1/depth", json={"pictures": [{"name": "x", "data": whole}], "off": ["stages.2.0"]}),
        ]
        return [(await ask).json() for ask in asks]

    said = within([hosted["classifier"]], test)
    assert [s.pop("name") for s in said] == ["picture 0", "a.png", "picture 0", "x"]
    assert said[0] == said[1] == said[2] == said[3]


def test_predictions_that_run_meanwhile_never_meet_an_edited_net(hosted):
    async def test(here):
        post = here.client.post
        alone = (await post("/v1/predict", content=PICTURE, headers=PNG)).json()
        work = [post("/v1/depth?first=1", content=picture(i), headers=PNG) for i in range(6)]
        asks = [post("/v1/predict", content=PICTURE, headers=PNG) for _ in range(12)]
        answers = await asyncio.gather(*(one for pair in zip(work, asks[:6], strict=True) for one in pair), *asks[6:])
        return alone, [a.json() for a in answers if "predictions" in a.json()]

    alone, others = within([hosted["classifier"]], test, batch_size=1)
    assert len(others) == 12 and all(o == alone for o in others)


def test_answers_do_not_wait_for_reasons(hosted, monkeypatch):
    """A contribution takes many passes; whoever only asks what a picture shows is answered meanwhile."""
    gate = threading.Event()

    def slow(net, x, y, engine):
        gate.wait(20)
        return contributions(net, x, y, engine)

    monkeypatch.setattr("residua.serve.stack.contributions", slow)

    async def test(here):
        reasons = asyncio.create_task(here.client.post("/v1/depth", content=PICTURE, headers=PNG))
        await until(lambda: here.hall.models["classifier"].lane.held == 1)
        answers = [(await here.client.post("/v1/predict", content=PICTURE, headers=PNG)).status_code for _ in range(3)]
        waiting = not reasons.done()
        gate.set()
        return answers, waiting, (await reasons).status_code

    assert within([hosted["classifier"]], test) == ([200] * 3, True, 200)


def test_the_net_that_is_taken_apart_has_the_very_weights_of_the_one_that_answers(hosted):
    model = hosted["classifier"].model
    mine, theirs = (dict(net.state_dict(keep_vars=True)) for net in (model.apart.net, model.model.net))
    assert mine.keys() == theirs.keys() and all(mine[k] is theirs[k] for k in mine)
    assert not {id(m) for m in model.apart.net.modules()} & {id(m) for m in model.model.net.modules()}


def test_a_full_queue_sends_depth_away_too_and_the_room_is_given_back(hosted):
    async def test(here):
        lane = here.hall.models["classifier"].lane
        with Slow(hosted["classifier"]) as slow:
            first = [
                asyncio.create_task(here.client.post("/v1/predict", content=PICTURE, headers=PNG)) for _ in range(2)
            ]
            await until(lambda: lane.held == 2)
            refused = await here.client.post("/v1/depth", content=PICTURE, headers=PNG)
            slow.gate.set()
            await asyncio.gather(*first)
        after = await here.client.post("/v1/depth", content=PICTURE, headers=PNG)
        return refused, after, lane.held

    refused, after, held = within([hosted["classifier"]], test, queue=2, batch_size=2)
    assert refused.status_code == 429 and int(refused.headers["retry-after"]) >= 1
    assert (after.status_code, held) == (200, 0)


def test_reasons_that_nobody_waits_for_any_more_end_after_the_pass_that_runs(hosted, monkeypatch):
    """A contribution takes many passes: a client that goes away must not hold the others up for all of them."""
    passes = []

    def endless(net, x, y, engine):
        while len(passes) < 10_000:
            passes.append(net.stem(x))
        raise AssertionError("nobody stopped it")

    monkeypatch.setattr("residua.serve.stack.contributions", endless)

    async def test(here):
        late = await here.client.post("/v1/depth", content=PICTURE, headers=PNG)
        done = await here.client.post("/v1/predict", content=PICTURE, headers=PNG)
        return late.status_code, done.status_code

    assert within([hosted["classifier"]], test, seconds=0.5) == (503, 200)
    assert 0 < len(passes) < 10_000
