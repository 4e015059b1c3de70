"""What is asked of /v1, and what is answered: as `residua predict` says it."""

import asyncio
import base64
import io
import json

import numpy as np
import pytest
from PIL import Image

from residua.api import load
from serve.conftest import CLASSES, picture, within

PICTURES = [picture(i, (20 + i, 30)) for i in range(5)]


def form(*pictures: bytes):
    return [("files", (f"{i}.png", data, "image/png")) for i, data in enumerate(pictures)]


def test_the_probabilities_are_those_of_predict_bit_for_bit_for_the_same_batch(hosted, kinds):
    async def test(here):
        return (await here.client.post("/v1/predict", files=form(*PICTURES), data={"top": "3"})).json()

    said = within([hosted["classifier"]], test)
    wanted = load(kinds.classifier).predict(PICTURES, top=3)
    assert [p["name"] for p in said["predictions"]] == [f"{i}.png" for i in range(5)]
    assert [p["classes"] for p in said["predictions"]] == [list(w.classes) for w in wanted]
    assert [p["probabilities"] for p in said["predictions"]] == [list(w.probabilities) for w in wanted]


def test_many_clients_share_a_batch_and_each_gets_its_own_answer(hosted, kinds):
    async def test(here):
        sent = [here.client.post("/v1/predict", content=data, headers={"content-type": "image/png"}) for data in many]
        answers = [r.json()["predictions"][0]["probabilities"] for r in await asyncio.gather(*sent)]
        text = (await here.client.get("/metrics")).text
        return answers, text

    many = [picture(i) for i in range(40)]
    answers, metrics = within([hosted["classifier"]], test, batch_size=16, batch_wait_ms=200)
    wanted = [list(p.probabilities) for p in load(kinds.classifier).predict(many)]
    assert np.allclose(answers, wanted, rtol=0, atol=1e-6)
    batches = float(metrics.partition('residua_batch_pictures_count{model="classifier"} ')[2].split()[0])
    assert batches <= 8  # 40 alone would be 40


def test_forms_json_and_bare_bytes_are_the_same_question(hosted):
    async def test(here):
        whole = base64.b64encode(PICTURES[0]).decode()
        asks = [
            here.client.post("/v1/predict?top=2", files=form(PICTURES[0])),
            here.client.post("/v1/predict", json={"pictures": [whole], "top": 2}),
            here.client.post("/v1/predict", json={"pictures": [{"name": "x", "data": whole}], "top": 2}),
            here.client.post("/v1/predict?top=2", content=PICTURES[0], headers={"content-type": "image/png"}),
        ]
        return [(await ask).json()["predictions"][0] for ask in asks]

    said = within([hosted["classifier"]], test)
    assert len({json.dumps([s["classes"], s["probabilities"]]) for s in said}) == 1
    assert [s["name"] for s in said] == ["0.png", "picture 0", "x", "picture 0"]


def test_detections_and_places_are_those_of_the_commands(hosted, kinds):
    async def test(here):
        asks = [
            here.client.post(f"/v1/predict?model={m}&threshold=0", files=form(*PICTURES))
            for m in ("detector", "localizer")
        ]
        return [(await ask).json()["predictions"] for ask in asks]

    detections, places = within(list(hosted.values()), test)
    for said, wanted in zip(detections, load(kinds.detector).predict(PICTURES), strict=True):
        assert (said["height"], said["width"]) == wanted.size
        assert [d["score"] for d in said["detections"]] == wanted.found.scores.tolist()
        assert [d["box"] for d in said["detections"]] == wanted.found.boxes.tolist()
    for said, wanted in zip(places, load(kinds.localizer).predict(PICTURES), strict=True):
        assert [d["probability"] for d in said["places"]] == wanted.found.scores.tolist()
        assert [d["box"] for d in said["places"]] == wanted.found.boxes.tolist()
        assert [d["overlap"] for d in said["places"]] == wanted.overlaps.tolist()


def test_a_picture_that_cannot_be_read_is_named_in_its_place(hosted):
    async def test(here):
        return await here.client.post("/v1/predict", files=form(PICTURES[0], b"words", PICTURES[1]))

    answer = within([hosted["classifier"]], test)
    first, bad, last = answer.json()["predictions"]
    assert answer.status_code == 200 and "classes" in first and "classes" in last
    assert bad == {"name": "1.png", "error": "not an image, or of a kind that is not read"}


def test_reasons_come_as_a_picture_and_by_unit(hosted):
    async def test(here):
        return (
            await here.client.post("/v1/predict", files=form(PICTURES[0]), data={"explain": "true", "class": "bee"})
        ).json()

    why = within([hosted["classifier"]], test)["predictions"][0]["explanation"]
    assert Image.open(io.BytesIO(base64.b64decode(why["map"]))).size == (20, 30)
    assert why["target"] == "bee" and why["units"][0]["unit"] == "stages.0.0"
    total = sum(u["contribution"] for u in why["units"])
    assert total == pytest.approx(why["logit"] - why["bare_logit"], abs=abs(why["missed"]) + 1e-4)


def test_a_model_is_found_by_its_name_and_the_list_says_what_there_is(hosted):
    async def test(here):
        listed = (await here.client.get("/v1/models")).json()["models"]
        unnamed = await here.client.post("/v1/predict", files=form(PICTURES[0]))
        wrong = await here.client.post("/v1/predict?model=classifer", files=form(PICTURES[0]))
        return listed, unnamed, wrong

    listed, unnamed, wrong = within(list(hosted.values()), test)
    assert [(m["name"], m["task"]) for m in listed] == [
        ("classifier", "classification"), ("detector", "detection"), ("localizer", "localization")
    ]  # fmt: skip
    assert listed[0]["classes"] == list(CLASSES) and len(listed[0]["digest"]) == 64
    assert (unnamed.status_code, wrong.status_code) == (400, 404)
    assert unnamed.json() == {"error": "which model? name one of classifier, detector, localizer"}
    assert wrong.json() == {"error": "no model 'classifer' here: did you mean classifier?"}


BAD = [
    ({"files": form(b"")}, 400, "empty file"),
    ({"files": form(b"words")}, 400, "not an image"),
    ({"files": form(PICTURES[0]), "data": {"top": "0"}}, 400, "top is a whole number"),
    ({"files": form(PICTURES[0]), "data": {"topp": "1"}}, 400, "did you mean top?"),
    ({"files": form(PICTURES[0]), "data": {"threshold": "nan"}}, 400, "threshold is a number"),
    ({"files": form(PICTURES[0]), "data": {"explain": "perhaps"}}, 400, "explain is true or false"),
    ({"files": form(PICTURES[0]), "data": {"explain": "1", "method": "gradcam"}}, 400, "known are grad-cam"),
    ({"files": form(PICTURES[0]), "data": {"explain": "1", "class": "bea"}}, 400, "did you mean bee"),
    ({"data": {"top": "1"}}, 415, "is not read: send multipart"),
    ({"content": b"x", "headers": {"content-type": "multipart/form-data"}}, 400, "the form cannot be read"),
    ({"content": b"x", "headers": {"content-type": "multipart/form-data; boundary=b"}}, 400, "the form cannot be read"),
    ({"content": b"{", "headers": {"content-type": "application/json"}}, 400, "the body is not JSON"),
    ({"content": b"[" * 5000, "headers": {"content-type": "application/json"}}, 400, "the body is not JSON"),
    ({"content": b"\xff", "headers": {"content-type": "application/json"}}, 400, "the body is not JSON"),
    ({"json": []}, 400, "no object"),
    ({"json": {}}, 400, "pictures is a list"),
    ({"json": {"pictures": []}}, 400, "no picture in the request"),
    ({"json": {"pictures": [1]}}, 400, "neither base64 nor"),
    ({"json": {"pictures": ["é"]}}, 400, "not base64"),
    ({"json": {"pictures": ["AAAA"], "model": ["x"]}}, 400, "model is a name"),
    ({"json": {"pictures": ["AAAA"], "file": "/etc/passwd"}}, 400, "unknown field 'file'"),
    ({"json": {"pictures": ["http://example.org/a.png"]}}, 400, "not base64"),
    ({"content": b"x" * 7000, "headers": {"content-type": "image/png"}}, 413, "longer than 6,000 bytes"),
    ({"files": form(*[b"x"] * 9)}, 413, "9 pictures in a request: at most 8"),
    ({"content": b"x", "headers": {"content-encoding": "gzip"}}, 415, "compressed bodies are not taken"),
]  # fmt: skip


def test_what_is_wrong_with_a_request_is_said_in_one_line(hosted):
    async def test(here):
        return [await here.client.post("/v1/predict", **request) for request, _, _ in BAD]

    answers = within([hosted["classifier"]], test, body_bytes=6000, queue=8)
    for answer, (request, status, words) in zip(answers, BAD, strict=True):
        error = answer.json()["error"]
        assert (answer.status_code, list(answer.json())) == (status, ["error"]), (request, error)
        assert words in error and "\n" not in error, (request, error)


def test_a_decompression_bomb_is_refused_before_it_is_unpacked(hosted):
    from acceptance import png

    async def test(here):
        return await here.client.post("/v1/predict", content=png(60_000, 60_000), headers={"content-type": "image/png"})

    answer = within([hosted["classifier"]], test)
    assert answer.status_code == 400 and "decompression bomb" in answer.json()["error"]


def test_reasons_are_refused_by_models_that_have_none(hosted):
    async def test(here):
        return await here.client.post("/v1/predict?explain=true", files=form(PICTURES[0]))

    answer = within([hosted["detector"]], test)
    assert answer.status_code == 400 and "models for classification" in answer.json()["error"]
