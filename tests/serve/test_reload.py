"""A model's file is replaced while it is served."""

import asyncio
import os
import threading

from residua.serve import classifying
from residua.serve.hosted import Hosted, Machine
from serve.conftest import classifier, localizer_model, picture, within

PICTURE, PNG = picture(), {"content-type": "image/png"}


async def ask(here):
    return (await here.client.post("/v1/predict", content=PICTURE, headers=PNG)).json()["predictions"][0][
        "probabilities"
    ]


async def told(here, outcome, n=1):
    for _ in range(1000):
        found = [h for h in here.heard if h.get("event") == "reload" and h["outcome"] == outcome]
        if len(found) >= n:
            return found[-1]
        await asyncio.sleep(0.02)
    raise AssertionError(f"no reload was {outcome}: {here.heard}")


def test_a_new_file_takes_over_and_no_request_is_lost(tmp_path):
    file = classifier(tmp_path / "m.safetensors", seed=0)

    async def test(here: object):
        before, stop, answers = await ask(here), asyncio.Event(), []

        async def asking():
            while not stop.is_set():
                answers.append(await here.client.post("/v1/predict", content=PICTURE, headers=PNG))

        clients = [asyncio.create_task(asking()) for _ in range(4)]
        for seed in (1, 2):
            os.replace(classifier(tmp_path / "new.safetensors", seed=seed), file)
            await told(here, "taken", seed)
        after = await ask(here)
        stop.set()
        await asyncio.gather(*clients)
        return before, after, answers

    before, after, answers = within([Hosted("m", file, Machine("cpu"))], test, look_seconds=0.05)
    assert before != after and len(answers) > 10
    assert {a.status_code for a in answers} == {200}


def test_a_bad_new_file_is_refused_and_said_and_the_old_one_goes_on(tmp_path):
    file = classifier(tmp_path / "m.safetensors", seed=0)

    async def test(here):
        before, why = await ask(here), []
        whole = file.read_bytes()
        torn = bytearray(whole)
        torn[-1] ^= 255
        for n, bad in enumerate(
            (b"nonsense", whole[:-100], bytes(torn), localizer_model(tmp_path / "l").read_bytes()), 1
        ):
            (tmp_path / "new").write_bytes(bad)
            os.replace(tmp_path / "new", file)
            why.append((await told(here, "refused", n))["why"])
            listed = (await here.client.get("/v1/models")).json()["models"][0]
            assert listed["refused"] == why[-1].replace(str(file), "m.safetensors") and await ask(here) == before
            assert str(tmp_path) not in listed["refused"]
        file.unlink()
        await asyncio.sleep(0.3)
        gone = await ask(here)
        classifier(tmp_path / "new", seed=5)
        os.replace(tmp_path / "new", file)
        await told(here, "taken")
        return before, why, gone, await ask(here), (await here.client.get("/v1/models")).json()["models"][0]

    before, why, gone, after, listed = within([Hosted("m", file, Machine("cpu"))], test, look_seconds=0.05)
    assert "not a Residua model file" in why[0] and "damaged" in why[1] and "checksum" in why[2]
    assert "a model for localization cannot take the place of one for classification" in why[3]
    assert gone == before != after and listed["refused"] is None


def test_a_file_that_is_still_being_written_is_not_taken_up(tmp_path):
    file = classifier(tmp_path / "m.safetensors", seed=0)
    whole = classifier(tmp_path / "new.safetensors", seed=1).read_bytes()

    async def test(here):
        with open(file, "wb", buffering=0) as out:
            for at in range(0, len(whole), len(whole) // 12):
                out.write(whole[at : at + len(whole) // 12])
                await asyncio.sleep(0.04)
        return await told(here, "taken"), here.heard

    taken, heard = within([Hosted("m", file, Machine("cpu"))], test, look_seconds=0.1)
    assert [h["outcome"] for h in heard if h["event"] == "reload"] == ["taken"] and taken["model"] == "m"


def test_no_thread_that_loaded_a_model_or_found_reasons_lives_on(tmp_path, monkeypatch):
    """Each would keep a team of OpenMP's threads, beside which answers take longer (docs/log.md)."""
    computed = []

    def heard(where, name):
        original = getattr(where, name)

        def here(*args, **words):
            computed.append(threading.current_thread())
            return original(*args, **words)

        monkeypatch.setattr(where, name, here)

    heard(classifying, "load")
    heard(classifying.Classifier, "explain")

    async def test(here):
        files = {"files": ("a.png", PICTURE, "image/png")}
        answer = await here.client.post("/v1/predict", files=files, data={"explain": "true"})
        os.replace(classifier(tmp_path / "new.safetensors", seed=1), file)
        await told(here, "taken")
        return answer.status_code, [t.is_alive() for t in computed]

    file = classifier(tmp_path / "m.safetensors")
    assert within([Hosted("m", file, Machine("cpu"))], test, look_seconds=0.1) == (200, [False] * 3)
