"""Run folders over HTTP: what they say, and nothing beside them."""

import json
import os
from pathlib import Path

import pytest

from serve.conftest import within

EPOCHS = [{"event": "epoch", "epoch": i + 1, "val_error": 0.5 / (i + 1), "lr": 0.1, "note": "x"} for i in range(3)]


def run(root: Path, name: str, rows=EPOCHS, **files: str) -> Path:
    folder = root / name
    folder.mkdir(parents=True)
    (folder / "config.toml").write_text('data = "digits"\narch = "cifar_resnet8"\n')
    lines = [json.dumps(r) for r in rows] + [json.dumps({"event": "step", "epoch": 1.0, "loss": 1}), '{"event": "epo']
    (folder / "metrics.jsonl").write_text("\n".join(lines))
    for file, text in files.items():
        (folder / file.replace("_", ".")).write_text(text)
    return folder


@pytest.fixture
def root(tmp_path):
    where = tmp_path / "runs"
    run(where, "first", evaluation_json='{"top1_error": 0.25, "n": 40}', report_html="<h1>it went well</h1>")
    run(where, '<b>s&cond "run"', summary_json='{"arch": {"name": "resnet18"}, "data": {"name": "mine"}, "params": 3}')
    (where / "no run").mkdir()
    return where


def ask(hosted, root, *paths, token=None, headers=None):
    async def test(here):
        return [await here.client.get(p, headers=headers) for p in paths]

    return within([hosted["classifier"]], test, token=token, runs=root)


def test_runs_are_listed_with_what_their_files_say(hosted, root):
    said = ask(hosted, root, "/v1/runs")[0].json()
    rows = {r["run"]: r for r in said["runs"]}
    assert said["shown"] and set(rows) == {"first", '<b>s&cond "run"'}
    first, second = rows["first"], rows['<b>s&cond "run"']
    assert (first["scores"], first["n"], first["finished"]) == ({"top1_error": 0.25}, 40, True)
    assert (first["arch"], first["data"]) == ("cifar_resnet8", "digits")
    assert (second["arch"], second["data"], second["params"], second["report"]) == ("resnet18", "mine", 3, None)


def test_curves_are_the_epochs_as_columns_of_equal_length(hosted, root):
    with (root / "first" / "metrics.jsonl").open("a") as file:
        file.write('\n{"event": "epoch", "epoch": 4, "lr": NaN, "extra": 1}\n')
    said = ask(hosted, root, "/v1/runs/first/metrics")[0].json()
    assert said["columns"] == {
        "epoch": [1, 2, 3, 4], "val_error": [0.5, 0.25, 0.5 / 3, None], "lr": [0.1, 0.1, 0.1, None],
        "extra": [None, None, None, 1],
    }  # fmt: skip


def test_a_name_with_signs_is_found_and_an_unknown_one_is_one_line(hosted, root):
    good, bad = ask(hosted, root, "/v1/runs/%3Cb%3Es%26cond%20%22run%22/metrics", "/v1/runs/nobody/metrics")
    assert good.status_code == 200 and good.json()["columns"]["epoch"] == [1, 2, 3]
    assert (bad.status_code, bad.json()) == (404, {"error": "no run 'nobody' here"})


def test_a_report_is_a_page_without_this_servers_origin_and_without_a_network(hosted, root):
    answer = ask(hosted, root, "/runs/first/report.html")[0]
    policy = answer.headers["content-security-policy"]
    assert answer.text == "<h1>it went well</h1>" and answer.headers["content-type"].startswith("text/html")
    assert policy.startswith("sandbox ") and "allow-same-origin" not in policy and "default-src 'none'" in policy
    assert answer.headers["referrer-policy"] == "no-referrer"


def test_with_a_token_a_report_opens_by_its_own_key_and_no_other(hosted, root):
    run(root, "third", report_html="third")

    async def test(here):
        good = {"authorization": "Bearer s3cret"}
        rows = {r["run"]: r["report"] for r in (await here.client.get("/v1/runs", headers=good)).json()["runs"]}
        stolen = rows["first"].replace("/first/", "/third/")
        paths = (rows["first"], "/runs/first/report.html", stolen, rows["first"] + "0", "/v1/runs",
                 "/v1/runs?key=" + rows["first"].partition("key=")[2])  # fmt: skip
        return [(await here.client.get(p)).status_code for p in paths]

    assert within([hosted["classifier"]], test, token="s3cret", runs=root) == [200, 401, 401, 401, 401, 401]


def test_nothing_outside_the_folder_is_ever_read(hosted, root, tmp_path):
    secret = run(tmp_path / "elsewhere", "secret", report_html="secret")
    os.symlink(secret, root / "linked")
    os.symlink(secret / "report.html", root / '<b>s&cond "run"' / "report.html")
    os.symlink(secret / "metrics.jsonl", root / "no run" / "metrics.jsonl")
    (root / "first" / "metrics.jsonl").unlink()
    os.symlink(secret / "metrics.jsonl", root / "first" / "metrics.jsonl")
    os.mkfifo(root / "first" / "summary.json")
    names = ("linked", "..", "%2e%2e", "..%2felsewhere%2fsecret", "../elsewhere/secret", "%2Fetc", ".", "first%00")
    paths = [f"/v1/runs/{n}/metrics" for n in names] + [f"/runs/{n}/report.html" for n in names]
    answers = ask(
        hosted, root, *paths, "/v1/runs", "/v1/runs/first/metrics", "/runs/%3Cb%3Es%26cond%20%22run%22/report.html"
    )
    *out, listed, curves, report = answers
    assert {a.status_code for a in out} == {404} and not any("secret" in a.text and a.status_code == 200 for a in out)
    assert "linked" not in [r["run"] for r in listed.json()["runs"]]
    assert curves.json()["columns"] == {} and report.status_code == 404


def test_without_runs_there_are_none_and_the_page_is_told_so(hosted):
    listed, curves = ask(hosted, None, "/v1/runs", "/v1/runs/first/metrics")
    assert listed.json() == {"shown": False, "runs": []} and curves.status_code == 404


BAD = [(["--runs", "nowhere"], 3, "no folder nowhere"), (["--runs", "one"], 2, "--runs one is a run itself")]


@pytest.mark.parametrize("words, code, said", BAD)
def test_bad_words_are_one_line(words, code, said, tmp_path, monkeypatch, capfd):
    from residua.cli.main import run as command
    from serve.conftest import classifier

    monkeypatch.chdir(tmp_path)
    run(tmp_path, "one")
    assert command(["serve", str(classifier(tmp_path / "a.safetensors")), *words]) == code
    out, err = capfd.readouterr()
    assert out == "" and err.count("\n") == 1 and said in err
