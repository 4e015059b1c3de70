"""The description of the interface: valid, true, and readable without a network."""

import json
import re
import subprocess
import sys

import pytest
from jsonschema import Draft202012Validator

from residua.serve.openapi import document, page
from serve.conftest import picture, serving, within


def test_the_description_lists_what_the_application_answers(hosted):
    async def test(here):
        return here.hall

    from residua.serve.app import application

    hall = within([hosted["classifier"]], test)
    routes = {r.path for r in application(hall).app.routes}
    assert set(document()["paths"]) == routes - {"/", "/docs", "/openapi.json", "/page"}


def test_answers_are_as_the_description_says(hosted):
    api = document()

    async def test(here):
        body = [("files", (f"{i}.png", picture(i), "image/png")) for i in range(2)]
        found = [("Models", (await here.client.get("/v1/models")).json())]
        for model in hosted:
            data = {"model": model, "threshold": "0", "explain": str(model == "classifier").lower()}
            found.append(("Predictions", (await here.client.post("/v1/predict", files=body, data=data)).json()))
            found.append(("ModelMetadata", (await here.client.get(f"/v2/models/{model}")).json()))
        found.append(("Error", (await here.client.get("/v2/models/x")).json()))
        return found

    for name, said in within(list(hosted.values()), test):
        schema = {"$ref": f"#/components/schemas/{name}", "components": api["components"]}
        Draft202012Validator(schema).validate(said)


def test_the_page_needs_nothing_from_elsewhere_and_describes_every_path():
    html = page()
    assert not re.search(r"(src|href)=\"(https?:)?//", html) and "<script" not in html and "style=" not in html
    for path in document()["paths"]:
        assert path in html


@pytest.mark.slow
def test_no_request_that_the_description_suggests_or_forbids_is_a_surprise(hosted, tmp_path):
    """schemathesis: no 5xx, and nothing that the description does not foresee."""
    api = document()
    for path, verbs in api["paths"].items():
        for parameter in (p for verb in verbs.values() for p in verb.get("parameters", [])):
            if path.startswith("/v2/models"):  # else nearly all that is tried is another model
                parameter["schema"] = {"enum": [{"model": "classifier", "version": "1"}[parameter["name"]]]}
    (tmp_path / "openapi.json").write_text(json.dumps(api))
    checks = (
        "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance,"
        "negative_data_rejection,allow_header_conformance"
    )
    with serving([hosted["classifier"]], farewell_seconds=0.0) as there:
        words = [sys.executable, "-m", "schemathesis.cli", "run", str(tmp_path / "openapi.json"), "--url", there.url]
        words += ["--checks", checks, "--max-examples", "20", "--phases", "coverage,fuzzing", "--seed", "1"]
        done = subprocess.run([*words, "--no-color"], capture_output=True, text=True, cwd=tmp_path)
        assert done.returncode == 0, done.stdout
        assert len(there.heard) > 500
