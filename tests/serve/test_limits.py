"""What a server does not let happen: too much at a time, the wrong people, slow clients, lost answers."""

import asyncio
import socket
import threading
import time

import httpx
import pytest

from serve.conftest import picture, serving, within

PICTURE = picture()
PNG = {"content-type": "image/png"}


class Slow:
    """A model that takes its time, so that a queue forms: a classifier behind a lock."""

    def __init__(self, hosted):
        self.model, self.gate, self.answer = hosted.model, threading.Event(), hosted.model.answer
        hosted.model.answer = self.wait

    def wait(self, seen):
        self.gate.wait(20)
        return self.answer(seen)

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.gate.set()
        del self.model.answer


@pytest.fixture
def slow(hosted):
    with Slow(hosted["classifier"]) as held:
        yield held


async def until(condition, seconds=10.0):
    began = time.monotonic()
    while not condition():
        assert time.monotonic() - began < seconds, "it never came"
        await asyncio.sleep(0.01)


def test_a_full_queue_sends_clients_away_and_says_when_to_come_again(hosted, slow):
    async def test(here):
        lane = here.hall.models["classifier"].lane
        first = [asyncio.create_task(here.client.post("/v1/predict", content=PICTURE, headers=PNG)) for _ in range(4)]
        await until(lambda: lane.held == 4)
        refused = await here.client.post("/v1/predict", content=PICTURE, headers=PNG)
        slow.gate.set()
        answers = await asyncio.gather(*first)
        after = await here.client.post("/v1/predict", content=PICTURE, headers=PNG)
        return refused, [a.status_code for a in answers], after.status_code

    refused, statuses, after = within([hosted["classifier"]], test, queue=4)
    assert refused.status_code == 429 and int(refused.headers["retry-after"]) >= 1
    assert "4 pictures to answer" in refused.json()["error"]
    assert (statuses, after) == ([200] * 4, 200)


def test_too_many_requests_at_a_time_are_sent_away_but_probes_and_metrics_are_answered(hosted, slow):
    async def test(here):
        first = [asyncio.create_task(here.client.post("/v1/predict", content=PICTURE, headers=PNG)) for _ in range(2)]
        await until(lambda: here.hall.models["classifier"].lane.held == 2)
        refused = await here.client.get("/v1/models")
        others = [(await here.client.get(p)).status_code for p in ("/health/live", "/health/ready", "/metrics")]
        slow.gate.set()
        return refused, others, [a.status_code for a in await asyncio.gather(*first)]

    refused, others, statuses = within([hosted["classifier"]], test, concurrency=2)
    assert (refused.status_code, others, statuses) == (429, [200] * 3, [200] * 2)


def test_bodies_together_never_take_more_memory_than_they_may(hosted):
    async def test(here):
        async def dripping():
            yield b"x" * 900
            await gate.wait()
            yield b"y"

        gate = asyncio.Event()
        first = [
            asyncio.create_task(here.client.post("/v1/predict", content=dripping(), headers=PNG)) for _ in range(2)
        ]
        await until(lambda: here.hall.room.free < 1000)
        refused = await here.client.post("/v1/predict", content=b"z" * 900, headers=PNG)
        gate.set()
        await asyncio.gather(*first)
        return refused, here.hall.room.free

    refused, free = within([hosted["classifier"]], test, body_bytes=1000, bodies=2)
    assert refused.status_code == 429 and free == 2000


def test_an_answer_that_takes_too_long_is_a_503_and_nobody_computes_for_it_later(hosted, slow):
    async def test(here):
        late = await here.client.post("/v1/predict", content=PICTURE, headers=PNG)
        lane = here.hall.models["classifier"].lane
        waits = [asyncio.create_task(here.client.post("/v1/predict", content=PICTURE, headers=PNG)) for _ in range(3)]
        later = [w.status_code for w in await asyncio.gather(*waits)]
        slow.gate.set()
        await until(lambda: not lane.waiting and not lane.held)
        return late, later

    late, later = within([hosted["classifier"]], test, seconds=0.3)
    assert late.status_code == 503 and "not answered within 0.3 s" in late.json()["error"]
    assert later == [503] * 3


def test_a_net_that_fails_is_a_500_in_one_line_and_the_server_lives(hosted, monkeypatch):
    def broken(seen):
        raise RuntimeError("the weights\nare gone")

    async def test(here):
        with monkeypatch.context() as m:
            m.setattr(hosted["classifier"].model, "answer", broken)
            bad = await here.client.post("/v1/predict", content=PICTURE, headers=PNG)
        good = await here.client.post("/v1/predict", content=PICTURE, headers=PNG)
        return bad, good, here.heard

    bad, good, heard = within([hosted["classifier"]], test)
    assert bad.status_code == 500 and bad.json() == {"error": "the server failed: its log says more"}
    assert good.status_code == 200
    assert [h["why"] for h in heard if h["event"] == "error"] == ["the weights"]


def test_with_a_token_only_probes_and_the_page_are_open(hosted):
    async def test(here):
        good, bad = {"authorization": "Bearer s3cret"}, {"authorization": "Bearer s3cres"}
        free = ("/", "/docs", "/openapi.json", "/health/live", "/v2/health/ready", "/page/page.js")
        paths = ("/v1/models", "/metrics", "/v2", "/v2/models/classifier", "/nothing")
        return (
            [(await here.client.get(p)).status_code for p in paths],
            [(await here.client.get(p, headers=bad)).status_code for p in paths],
            [(await here.client.get(p, headers=good)).status_code for p in paths],
            [(await here.client.get(p)).status_code for p in free],
            await here.client.get("/v1/models"),
        )  # fmt: skip

    none, bad, good, free, said = within([hosted["classifier"]], test, token="s3cret")
    assert none == bad == [401] * 5 and good == [200] * 4 + [404] and free == [200] * 6
    assert said.headers["www-authenticate"] == "Bearer" and "Authorization: Bearer" in said.json()["error"]


def test_every_request_is_a_line_of_the_log_and_is_counted(hosted):
    async def test(here):
        await here.client.post("/v1/predict", content=PICTURE, headers=PNG)
        await here.client.get("/nowhere%0A{}")
        return here.heard, (await here.client.get("/metrics")).text

    heard, metrics = within([hosted["classifier"]], test)
    first, second = heard[:2]
    assert (first["status"], first["model"], first["pictures"], first["bytes"]) == (200, "classifier", 1, len(PICTURE))
    assert (second["status"], second["path"]) == (404, "/nowhere\n{}")
    assert 'residua_requests_total{protocol="http",route="predict",status="200"} 1.0' in metrics
    assert 'residua_requests_total{protocol="http",route="none",status="404"} 1.0' in metrics
    assert 'residua_pictures_total{model="classifier",outcome="answered"} 1.0' in metrics


# -- on a port ------------------------------------------------------------------------------------------------------


def read_all(connection):
    found = b""
    while part := connection.recv(65536):
        found += part
    return found


def test_slow_headers_slow_bodies_and_lone_connections_are_ended(hosted):
    with serving([hosted["classifier"]], header_seconds=0.3, seconds=0.4, farewell_seconds=0.0) as there:
        for words, answer in (
            (b"", b""),
            (b"POST /v1/predict HTTP/1.1\r\nHost: x\r\nX-", b""),
            (
                b"POST /v1/predict HTTP/1.1\r\nHost: x\r\nContent-Type: image/png\r\nContent-Length: 9\r\n\r\nab",
                b" 408 ",
            ),
        ):
            with socket.create_connection(there.address, timeout=5) as connection:
                connection.sendall(words)
                began = time.monotonic()
                if answer:
                    assert answer in connection.recv(65536)
                read_all(connection)
                assert time.monotonic() - began < 4
        assert httpx.get(f"{there.url}/health/live").status_code == 200


def test_what_is_no_http_and_what_is_too_long_gets_one_line(hosted):
    with serving([hosted["classifier"]], body_bytes=100_000, farewell_seconds=0.0) as there:
        with socket.create_connection(there.address, timeout=5) as connection:
            connection.sendall(b"\x16\x03\x01 hello\r\n\r\n")
            said = read_all(connection)
            assert b" 400 " in said and said.endswith(b'{"error": "this is no HTTP request"}')
        with socket.create_connection(there.address, timeout=5) as connection:  # 2 GB, of which no byte is waited for
            connection.sendall(
                b"POST /v1/predict HTTP/1.1\r\nHost: x\r\nContent-Type: image/png\r\nContent-Length: 2147483648\r\n\r\n"
            )
            assert b" 413 " in connection.recv(65536)

        def endless():
            for _ in range(10_000):
                yield b"x" * 10_000

        answer = httpx.post(f"{there.url}/v1/predict", content=endless(), headers=PNG)
        assert answer.status_code == 413 and "longer than 100,000 bytes" in answer.json()["error"]
        assert httpx.post(f"{there.url}/v1/predict", content=PICTURE, headers=PNG).status_code == 200


def test_a_client_that_goes_away_is_noted_and_costs_nothing_more(hosted, slow):
    with serving([hosted["classifier"]], farewell_seconds=0.0) as there:
        head = (
            f"POST /v1/predict HTTP/1.1\r\nHost: x\r\nContent-Type: image/png\r\nContent-Length: {len(PICTURE)}\r\n\r\n"
        )
        lane = there.hall.models["classifier"].lane
        for sent in (PICTURE, PICTURE[:20]):  # while it waits for its answer, and in the middle of its body
            with socket.create_connection(there.address, timeout=5) as connection:
                connection.sendall(head.encode() + sent)
                time.sleep(0.2)
        asyncio.run(until(lambda: [h["status"] for h in there.heard] == [499, 499] and not lane.held))
        slow.gate.set()
        assert httpx.post(f"{there.url}/v1/predict", content=PICTURE, headers=PNG).status_code == 200


def test_what_was_accepted_is_answered_before_the_end(hosted, slow):
    with serving([hosted["classifier"]], farewell_seconds=0.3) as there:
        answers = []

        def ask():
            answers.append(httpx.post(f"{there.url}/v1/predict", content=PICTURE, headers=PNG, timeout=20).status_code)

        asking = [threading.Thread(target=ask) for _ in range(8)]
        for thread in asking:
            thread.start()
        lane = there.hall.models["classifier"].lane
        asyncio.run(until(lambda: lane.held == 8))
        there.end()
        asyncio.run(until(lambda: there.hall.leaving))
        assert httpx.get(f"{there.url}/health/ready").status_code == 503
        time.sleep(0.7)
        with pytest.raises(httpx.ConnectError):
            httpx.get(f"{there.url}/health/live")
        slow.gate.set()
        for thread in asking:
            thread.join()
        assert answers == [200] * 8
