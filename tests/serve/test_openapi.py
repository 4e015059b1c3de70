"""The description of the interface: valid, true, and readable without a network."""

import re

import pytest
import schemathesis
from hypothesis import HealthCheck, settings
from jsonschema import Draft202012Validator
from serve.conftest import picture, serving, within

from residua.serve.openapi import document, page


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
def test_no_request_that_the_description_suggests_or_forbids_is_a_surprise(hosted):
    from schemathesis.checks import not_a_server_error
    from schemathesis.specs.openapi.checks import (
        content_type_conformance,
        negative_data_rejection,
        response_schema_conformance,
        status_code_conformance,
    )

    checks = [
        not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance,
        negative_data_rejection,
    ]  # fmt: skip
    with serving([hosted["classifier"]], farewell_seconds=0.0) as there:
        schema = schemathesis.openapi.from_url(f"{there.url}/openapi.json")
        tried = 0
        for result in schema.get_all_operations():
            operation = result.ok()

            @settings(max_examples=40, deadline=None, database=None, suppress_health_check=list(HealthCheck))
            @schemathesis.pytest.parametrize if False else (lambda f: f)
            def try_it(case):
                nonlocal tried
                tried += 1
                case.call_and_validate(checks=checks)

            operation.as_strategy
            from hypothesis import given

            for mode in (schemathesis.GenerationMode.POSITIVE, schemathesis.GenerationMode.NEGATIVE):
                given(case=operation.as_strategy(generation_mode=mode))(try_it)()
        assert tried > 300
