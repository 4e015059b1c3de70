"""The description of the interface: OpenAPI 3.1 as data, and a page of it that needs no script and no network."""

from collections.abc import Iterable, Mapping
from typing import Any

import jinja2

from residua.serve.schemas import DEPTH_WISHES, SCHEMAS, TEXT, WISHES, Json, array, ref

#: What may go wrong with any request that has a body.
TROUBLES = {
    400: "something in the request is wrong", 401: "the token is missing or wrong", 404: "no such model",
    408: "the body came too slowly", 413: "the body is too long, or the pictures are too many",
    415: "a kind of body that is not read", 429: "too much at a time: Retry-After says when to come again",
    410: "this picture is not in memory any more",
    500: "the server failed", 503: "not ready, about to end, or too slow",
}  # fmt: skip


def _content(kind: str, schema: Json) -> Json:
    return {"content": {kind: {"schema": schema}}}


def _operation(name: str, summary: str, schema: Json, troubles: tuple[int, ...] = (401,), **more: Any) -> Json:
    """An endpoint that answers with a schema, or with an error."""
    kind = more.pop("kind", "application/json")
    answers = {"200": {"description": "the answer"} | _content(kind, schema)}
    error = _content("application/json", ref("Error"))
    answers |= {str(code): {"description": TROUBLES[code]} | error for code in troubles}
    return {"operationId": name, "summary": summary, "responses": answers, **more}


def _health(name: str, summary: str, schema: str, *, may_fail: bool) -> Json:
    made = _operation(name, summary, ref(schema), (), security=[])
    if may_fail:
        made["responses"]["503"] = {"description": "not yet, or about to end"} | _content(
            "application/json", ref(schema)
        )
    return {"get": made}


def _asking(name: str, summary: str, schema: Json, wishes: Json, json: str, troubles: Iterable[int]) -> Json:
    """An endpoint that takes pictures and words: as a form, as the JSON of a schema, or as the bytes of one picture."""
    form = {"type": "object", "properties": {"files": array({"type": "string", "format": "binary"})} | wishes}
    body = {
        "required": True,
        "content": {
            "multipart/form-data": {"schema": form | ({} if "seen" in wishes else {"required": ["files"]})},
            "application/json": {"schema": ref(json)},
            "application/octet-stream": {"schema": {"type": "string", "format": "binary"}},
        },
    }
    query = [
        {"name": n, "in": "query", "required": False, "schema": s, "description": s.get("description", "")}
        for n, s in wishes.items()
    ]
    return {"post": _operation(name, summary, schema, tuple(troubles), parameters=query, requestBody=body)}


def _predict() -> Json:
    words = "What is on these pictures? Files of a form, base64 in JSON, or the bytes of one picture"
    return _asking("predict", words, ref("Predictions"), WISHES, "PredictJson", set(TROUBLES) - {410})


def _depth() -> Json:
    words = "What becomes of the answer for one picture when some units of the net do not work?"
    return _asking("depth", words, ref("Depth"), DEPTH_WISHES, "DepthJson", TROUBLES)


def _runs() -> Json:
    """What is shown of run folders."""
    named = [{"name": "run", "in": "path", "required": True, "schema": TEXT}]
    key = {"name": "key", "in": "query", "required": False, "schema": TEXT,
           "description": "opens this report without a token; the list of runs has it"}  # fmt: skip
    return {
        "/v1/runs": {"get": _operation("list_runs", "the runs below the folder of --runs", ref("Runs"))},
        "/v1/runs/{run}/metrics": {"get": _operation(
            "run_metrics", "the curves of a run", ref("RunMetrics"), (401, 404), parameters=named
        )},
        "/runs/{run}/report.html": {"get": _operation(
            "report", "the report of a run, as its training drew it", TEXT, (401, 404), kind="text/html",
            parameters=[*named, key],
        )},
    }  # fmt: skip


def _v2() -> Json:
    """The Open Inference Protocol's paths."""
    paths: Json = {
        "/v2": {"get": _operation("v2_server", "the server's metadata", ref("ServerMetadata"))},
        "/v2/health/live": _health("v2_live", "is the process alive?", "Live", may_fail=False),
        "/v2/health/ready": _health("v2_ready", "are requests answered?", "Ready", may_fail=True),
    }
    named = [{"name": "model", "in": "path", "required": True, "schema": TEXT}]
    for base, names, end in (
        ("/v2/models/{model}", named, ""),
        ("/v2/models/{model}/versions/{version}", [*named, {**named[0], "name": "version"}], "_version"),
    ):
        body = {"required": True} | _content("application/json", ref("InferRequest"))
        about = _operation(
            f"v2_model{end}", "the model's metadata", ref("ModelMetadata"), (401, 404), parameters=names
        )  # fmt: skip
        ready = _operation(f"v2_model_ready{end}", "is the model ready?", ref("Ready"), (401, 404), parameters=names)
        ready["responses"]["503"] = {"description": "not yet, or about to end"} | _content(
            "application/json", ref("Ready")
        )
        paths |= {
            base: {"get": about},
            f"{base}/ready": {"get": ready},
            f"{base}/infer": {"post": _operation(
                f"v2_infer{end}", "tensors in, tensors out; numbers may follow the JSON as bytes",
                ref("InferResponse"), tuple(TROUBLES), parameters=names, requestBody=body,
            )},
        }  # fmt: skip
    return paths


def document() -> Json:
    """The whole description."""
    from residua import __version__

    return {
        "openapi": "3.1.0",
        "info": {"title": "residua serve", "version": __version__, "description": "Residual networks that answer."},
        "paths": {
            "/health/live": _health("live", "is the process alive?", "Live", may_fail=False),
            "/health/ready": _health("ready", "are requests answered?", "Ready", may_fail=True),
            "/metrics": {"get": _operation("metrics", "what is counted, for Prometheus", TEXT, kind="text/plain")},
            "/v1/models": {"get": _operation("models", "the models, their classes and views", ref("Models"))},
            "/v1/models/{model}/units": {"get": _operation(
                "units", "the units of a model's net, in their order", ref("Units"), (400, 401, 404, 429, 503),
                parameters=[{"name": "model", "in": "path", "required": True, "schema": TEXT}],
            )},
            "/v1/predict": _predict(), "/v1/depth": _depth(), **_runs(),
            **_v2(),
        },
        "components": {"schemas": SCHEMAS, "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}}},
        "security": [{"token": []}, {}],
    }  # fmt: skip


def page() -> str:
    """The description as one page of plain HTML."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("residua.serve", "page"), autoescape=True, undefined=jinja2.StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    environment.filters["kind"] = kind
    return environment.get_template("docs.html").render(api=document())


def kind(schema: Mapping[str, Any]) -> str:
    """A schema in a few words: ``list of Model``, ``number or null``."""
    if "$ref" in schema:
        return str(schema["$ref"]).rpartition("/")[2]
    if "anyOf" in schema:
        return " or ".join(kind(s) for s in schema["anyOf"])
    if schema.get("type") == "array" and "items" in schema:
        return f"list of {kind(schema['items'])}"
    if fields := schema.get("properties"):
        return "{" + ", ".join(fields) + "}"
    if words := schema.get("enum"):
        return " | ".join(words)
    found = schema.get("type", "anything")
    return " or ".join(found) if isinstance(found, list) else str(found)
