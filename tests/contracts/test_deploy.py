"""docs/deploy.md and the Dockerfile: every file in them parses, and every residua command exists with its flags."""

import ast
import configparser
import json
import re
import shlex
import shutil
import subprocess

import pytest
import yaml

from contracts.test_docs import ROOT, blocks, parse

PAGE = (ROOT / "docs" / "deploy.md").read_text(encoding="utf-8")
DOCKERFILE = (ROOT / "Dockerfile").read_text(encoding="utf-8")
UNIT = blocks(PAGE, "ini")[0]


def unit() -> configparser.ConfigParser:
    made = configparser.ConfigParser(interpolation=None, comment_prefixes=("#",), delimiters=("=",))
    made.optionxform = str  # type: ignore[assignment,method-assign]
    made.read_string(UNIT)
    return made


def containers(document: object) -> list[dict[str, object]]:
    """Everything in a document that has arguments for `residua`."""
    if isinstance(document, list):
        return [c for d in document for c in containers(d)]
    if not isinstance(document, dict):
        return []
    own = [document] if {"args", "command"} & document.keys() else []
    return own + [c for d in document.values() for c in containers(d)]


def calls() -> list[list[str]]:
    """The words of every call of residua, from its name on."""
    lines = [line.partition("  #")[0] for block in blocks(PAGE, "sh") for line in block.splitlines()]
    found = [shlex.split(m[1]) for line in lines if (m := re.search(r"(?:^| )(residua [a-z][^&|]*)$", line))]
    found.append(["residua", *shlex.split(unit()["Service"]["ExecStart"])[1:]])
    for block in blocks(PAGE, "yaml"):
        for one in containers(list(yaml.safe_load_all(block))):
            found.append(["residua", *one.get("args", one.get("command"))])  # type: ignore[misc]
    found.append(["residua", *json.loads(re.search(r"^CMD (\[.*\])$", DOCKERFILE, re.MULTILINE)[1])])  # type: ignore[index]
    return found


@pytest.mark.parametrize("words", calls(), ids=lambda words: " ".join(words)[:60])
def test_every_call_of_residua_exists_with_its_flags(words):
    parse(shlex.join(words))


def test_calls_are_found_in_every_kind_of_block():
    verbs = [words[1] for words in calls()]
    assert len(verbs) >= 8 and {"serve", "export", "verify"} == set(verbs)


def test_every_block_is_of_a_language_that_is_looked_at_here_and_parses():
    languages = re.findall(r"^```(\w+)$", PAGE, re.MULTILINE)
    assert set(languages) == {"sh", "ini", "yaml", "nginx", "caddyfile", "python"}
    for code in blocks(PAGE, "python"):
        ast.parse(code)
    for text in blocks(PAGE, "yaml"):
        assert all(isinstance(d, dict) for d in yaml.safe_load_all(text))
    for language in ("nginx", "caddyfile"):
        for text in blocks(PAGE, language):
            assert text.count("{") == text.count("}") > 1


def test_the_unit_is_hardened_and_leaves_time_to_answer():
    from residua.serve.limits import Limits
    from residua.serve.running import GRACE_SECONDS

    service, limits = unit()["Service"], Limits()
    assert service["DynamicUser"] == service["NoNewPrivileges"] == "yes" and service["ProtectSystem"] == "strict"
    assert int(service["LimitNOFILE"]) >= 2 * limits.concurrency
    most = 2 * limits.seconds + limits.seconds + GRACE_SECONDS + limits.farewell_seconds
    stops = [int(service["TimeoutStopSec"])]
    stops += [int(n) for n in re.findall(r"(?:terminationGracePeriodSeconds|stop_grace_period): (\d+)", PAGE)]
    assert len(stops) == 3 and min(stops) > most


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="needs systemd-analyze")
def test_systemd_takes_the_unit(tmp_path):
    here = tmp_path / "residua.service"
    here.write_text(UNIT.replace("/opt/residua/bin/residua", "/bin/true"))
    done = subprocess.run(["systemd-analyze", "verify", here], capture_output=True, text=True, check=False)
    assert "residua.service" not in done.stderr, done.stderr


def test_probes_and_health_checks_ask_addresses_that_need_no_token():
    from residua.serve.guard import OPEN

    asked = re.findall(r"path: (/\S+?),", PAGE) + re.findall(r"127\.0\.0\.1:8000(/[\w/]+)", PAGE + DOCKERFILE)
    assert len(asked) >= 4 and set(asked) <= set(OPEN)


def test_the_limits_in_front_are_the_servers_own():
    from residua.serve.limits import Limits

    limits = Limits()
    assert f"client_max_body_size {limits.body_bytes // 2**20}m;" in PAGE
    assert f"client_body_timeout {limits.seconds:.0f}s;" in PAGE
    assert f"client_header_timeout {limits.header_seconds:.0f}s;" in PAGE
    assert len(re.findall(rf"timeout {2 * limits.seconds + 5:.0f}s", PAGE)) == 2


def test_only_what_the_image_needs_is_sent_to_its_builder():
    rules = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if line and not line.startswith("#")]
    allowed = {rule.removeprefix("!") for rule in rules if rule.startswith("!")}
    copied = {w for line in re.findall(r"^COPY ((?!--from).*)", DOCKERFILE, re.MULTILINE) for w in line.split()[:-1]}
    assert rules[0] == "*" and copied == allowed and all((ROOT / name).exists() for name in allowed)
