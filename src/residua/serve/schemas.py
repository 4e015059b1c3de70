"""The shapes of what the interface takes and gives, as JSON Schema in OpenAPI's words."""

from typing import Any

from residua.explain import METHODS

Json = dict[str, Any]

TEXT: Json = {"type": "string"}
BASE64: Json = {"type": "string", "contentEncoding": "base64"}
NUMBER: Json = {"type": ["number", "null"]}
TENSOR_SHAPE: Json = {"type": "array", "items": {"type": "integer"}}


def array(of: Json) -> Json:
    """Many of it."""
    return {"type": "array", "items": of}


def record(required: Json, also: Json | None = None, *, closed: bool = False) -> Json:
    """An object with these fields."""
    made = {"type": "object", "properties": required | (also or {}), "required": list(required)}
    return made | ({"additionalProperties": False} if closed else {})


def ref(name: str) -> Json:
    """A schema by its name."""
    return {"$ref": f"#/components/schemas/{name}"}


UNIT = record({"unit": TEXT, "stage": {"type": "integer"}, "contribution": NUMBER, "added": NUMBER, "leads": TEXT})
EXPLANATION = record(
    {
        "target": TEXT, "probability": NUMBER, "logit": NUMBER, "nothing": {"type": "boolean"},
        "map": TEXT | {"description": "a PNG file, base64: the picture under the heat of what speaks for the class"},
        "units": array(UNIT), "bare": NUMBER, "bare_logit": NUMBER, "missed": NUMBER,
        "why_not": {"type": ["string", "null"]},
    }
)  # fmt: skip
BOX = array({"type": "number"}) | {
    "minItems": 4, "maxItems": 4, "description": "left, top, right, bottom in pixels of the picture",
}  # fmt: skip
PREDICTION = record(
    {"name": TEXT},
    {
        "error": TEXT | {"description": "why this picture could not be read; nothing else stands beside it"},
        "classes": array(TEXT), "probabilities": array(NUMBER), "explanation": ref("Explanation"),
        "height": {"type": "integer"}, "width": {"type": "integer"},
        "detections": array(record({"class": TEXT, "score": NUMBER, "box": BOX})),
        "places": array(record({"class": TEXT, "probability": NUMBER, "box": BOX, "overlap": NUMBER})),
    },
)  # fmt: skip
TASK: Json = {"type": "string", "enum": ["classification", "detection", "localization"]}
MODEL = record(
    {
        "name": TEXT, "version": TEXT, "task": TASK, "digest": TEXT | {"description": "SHA-256 of the file"},
        "loaded": NUMBER | {"description": "seconds since 1970"},
        "refused": {"type": ["string", "null"], "description": "why the newest file was not taken"},
        "classes": array(TEXT), "arch": TEXT, "view": {"type": "object"}, "metrics": {"type": "object"},
        "explains": {"type": "boolean"},
    },
    {
        "temperature": NUMBER, "threshold": NUMBER,
        "runtime": TEXT | {"description": "what computes the answers: eager, compiled, onnx or openvino"},
    },
)  # fmt: skip
TENSOR_KIND = record({"name": TEXT, "datatype": TEXT, "shape": TENSOR_SHAPE})
TENSOR = record(
    {"name": TEXT, "datatype": TEXT, "shape": TENSOR_SHAPE},
    {"data": {"type": "array"}, "parameters": {"type": "object"}},
)  # fmt: skip
WISHES: Json = {
    "model": TEXT | {"description": "a served model's name; may be left out where there is one"},
    "top": {"type": "integer", "minimum": 1, "maximum": 100000, "default": 5, "description": "classes to name"},
    "threshold": {
        "type": "number", "minimum": 0, "maximum": 1, "description": "the least score of detections (the model's own)",
    },
    "explain": {
        "type": "boolean", "default": False, "description": "also say where the net looked, and what each unit gave",
    },
    "method": {
        "enum": list(METHODS), "type": "string", "default": "grad-cam", "description": "how the map is made",
    },
    "class": TEXT | {"description": "the class to explain; that which the net names, if not said"},
}  # fmt: skip
INTEGER: Json = {"type": "integer"}
TRUTH: Json = {"type": "boolean"}
REASON: Json = {"type": ["string", "null"], "description": "why there are no contributions"}
SHORTCUT: Json = {"type": "string", "enum": ["identity", "zero-pad", "projection", "none"]}
STACK_UNIT = record(
    {
        "unit": TEXT, "stage": INTEGER | {"description": "from 0; -1 is the stem"}, "shortcut": SHORTCUT,
        "keeps_shape": TRUTH, "layers": INTEGER | {"description": "convolutions of the branch"},
        "channels": INTEGER, "height": INTEGER, "width": INTEGER, "params": INTEGER,
        "macs": INTEGER | {"description": "multiply-adds for one picture"},
        "receptive_field": INTEGER | {"description": "side in pixels of what one place can see"},
    }
)  # fmt: skip
UNITS = record(
    {
        "model": TEXT, "version": TEXT, "kind": {"type": "string", "enum": ["residual", "plain", "layers"]},
        "why_not": REASON, "stages": INTEGER, "side_px": INTEGER, "units": array(STACK_UNIT),
    }
)  # fmt: skip
UNIT_AT_WORK = record(
    {
        "unit": TEXT, "stage": INTEGER, "on": TRUTH,
        "ratio": NUMBER | {"description": "|F(x)| / |x| for this picture; x is what F(x) is added to"},
        "cosine": NUMBER | {"description": "of x and H(x) = F(x) + x"},
        "contribution": NUMBER | {"description": "to the logit of the class that is followed"},
    }
)  # fmt: skip
ANSWER = record(
    {
        "classes": array(TEXT), "probabilities": array(NUMBER), "target_probability": NUMBER, "logit": NUMBER,
        "bare_logit": NUMBER | {"description": "without any unit at work"},
        "missed": NUMBER | {"description": "what the contributions miss of logit - bare_logit"},
        "units": array(UNIT_AT_WORK),
    }
)  # fmt: skip
DEPTH = record(
    {
        "model": TEXT, "version": TEXT, "name": {"type": ["string", "null"]},
        "seen": TEXT | {"description": "SHA-256 of the picture: says it again while the server remembers it"},
        "target": TEXT, "off": array(TEXT), "why_not": REASON, "whole": ref("DepthAnswer"),
        "reduced": ref("DepthAnswer"),
        "change": array(record({"class": TEXT, "whole": NUMBER, "reduced": NUMBER}))
        | {"description": "the probabilities of the classes that either names"},
    }
)  # fmt: skip
DEPTH_WISHES: Json = {
    "model": WISHES["model"], "top": WISHES["top"],
    "off": TEXT | {"description": "units that do not work, with commas between them; in JSON also a list"},
    "first": {"type": "integer", "minimum": 0, "maximum": 100000, "description": "so many units work, no later one"},
    "class": TEXT | {"description": "the class to follow; that which the whole net names, if not said"},
    "contributions": {
        "type": "boolean", "default": True, "description": "also what each unit gave to the logit: takes many passes",
    },
    "seen": {
        "type": "string", "pattern": "^[0-9a-f]{64}$", "description": "a picture that was sent before, by its `seen`",
    },
}  # fmt: skip
RUN = record(
    {
        "run": TEXT, "task": TASK, "changed": NUMBER | {"description": "seconds since 1970"}, "finished": TRUTH,
        "arch": {"type": ["string", "null"]}, "data": {"type": ["string", "null"]}, "scores": {"type": "object"},
        "n": NUMBER, "params": NUMBER,
        "report": {"type": ["string", "null"], "description": "where its report is"},
    }
)  # fmt: skip
RUN_METRICS = record(
    {
        "run": TEXT, "finished": TRUTH,
        "columns": {"type": "object", "additionalProperties": array(NUMBER),
                    "description": "one number an epoch, null where there is none"},
    }
)  # fmt: skip
GIVEN = record({"data": BASE64}, {"name": TEXT}, closed=True)
SCHEMAS: Json = {
    "Error": record({"error": TEXT}), "Explanation": EXPLANATION, "Prediction": PREDICTION, "Model": MODEL,
    "Models": record({"models": array(ref("Model"))}),
    "Predictions": record({"model": TEXT, "version": TEXT, "task": TASK, "predictions": array(ref("Prediction"))}),
    "PredictJson": record(
        {"pictures": array({"anyOf": [BASE64, GIVEN]}) | {"minItems": 1}},
        WISHES,
        closed=True,
    ),
    "Units": UNITS, "DepthAnswer": ANSWER, "Depth": DEPTH,
    "DepthJson": record(
        {},
        DEPTH_WISHES
        | {"off": {"anyOf": [TEXT, array(TEXT)], "description": DEPTH_WISHES["off"]["description"]}}
        | {"pictures": array({"anyOf": [BASE64, GIVEN]}) | {"minItems": 1, "maxItems": 1}},
        closed=True,
    ),
    "Runs": record({"shown": TRUTH | {"description": "whether there is a --runs"}, "runs": array(RUN)}),
    "RunMetrics": RUN_METRICS,
    "Live": record({"live": {"type": "boolean"}}), "Ready": record({"ready": {"type": "boolean"}}, {"name": TEXT}),
    "ServerMetadata": record({"name": TEXT, "version": TEXT, "extensions": array(TEXT)}),
    "ModelMetadata": record(
        {"name": TEXT, "versions": array(TEXT), "platform": TEXT},
        {"inputs": array(TENSOR_KIND), "outputs": array(TENSOR_KIND), "properties": {"type": "object"}},
    ),
    "InferRequest": record(
        {"inputs": array(TENSOR) | {"minItems": 1}},
        {"id": TEXT, "parameters": {"type": "object"}, "outputs": array(record({"name": TEXT}))},
    ),
    "InferResponse": record({"model_name": TEXT, "model_version": TEXT, "outputs": array(TENSOR)}, {"id": TEXT}),
}  # fmt: skip
