"""The OpenAPI of a service: its own endpoints, typed by the signature of the pipeline, beside those that FastAPI knows."""

from __future__ import annotations

from typing import Any

from penstock.model.deployment_settings import DeploymentSettings
from penstock.serve.service import Service

_TEXT = {"type": "string"}
_OBJECT = {"type": "object"}
_PROBLEM = {
    "type": "object",
    "description": "What went wrong (RFC 9457).",
    "required": ["type", "title", "status", "detail"],
    "properties": {
        "type": _TEXT,
        "title": _TEXT,
        "status": {"type": "integer"},
        "detail": _TEXT,
        "instance": _TEXT,
        "errors": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["pointer", "message"],
                "properties": {
                    "pointer": _TEXT,
                    "message": _TEXT,
                    "allowed": {"type": "array", "items": {}},
                    "did_you_mean": _TEXT,
                },
            },
        },
    },
}
_METADATA = {
    "type": "object",
    "properties": {
        "deployment_id": _TEXT,
        "deployment_name": _TEXT,
        "snapshot_id": _TEXT,
        "snapshot_name": {"type": ["string", "null"]},
        "pipeline_name": _TEXT,
        "run_id": _TEXT,
        "run_name": _TEXT,
        "parameters_used": _OBJECT,
    },
}
_FAILURE = {
    "type": "object",
    "properties": {
        "type": _TEXT,
        "message": _TEXT,
        "step": {"type": ["string", "null"]},
        "traceback": {"type": ["string", "null"]},
    },
}


def with_own_paths(document: dict[str, Any], service: Service, settings: DeploymentSettings) -> dict[str, Any]:
    """FastAPI's document with our endpoints in it."""
    content = service.plan.snapshot.content
    schemas = document.setdefault("components", {}).setdefault("schemas", {})
    schemas |= _definitions(content.parameter_schema) | _definitions(content.output_schema)
    schemas["Parameters"] = _moved(content.parameter_schema) | {
        "required": [
            name for name in content.parameter_schema.get("required", ()) if name not in content.given.parameters
        ]
    }
    schemas["Outputs"] = {"anyOf": [_OBJECT, {"type": "null"}]}
    schemas["Problem"] = _PROBLEM
    schemas["InvokeRequest"] = _request(schemas["Parameters"])
    schemas["InvokeResponse"] = _response()
    schemas["Submission"] = _SUBMISSION
    keyed: dict[str, Any] = {}
    if service.plan.auth:
        document["components"]["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer"}}
        keyed = {"security": [{"key": []}]}
    brought = document.get("paths", {})
    for operation in (one for path in brought.values() for one in path.values()):
        operation["responses"].setdefault("default", _problem("It was refused before the endpoint was called."))
    document["paths"] = {**_paths(settings, keyed), **brought}
    return document


def _paths(settings: DeploymentSettings, keyed: dict[str, Any]) -> dict[str, Any]:
    wanted, invoke = settings.include_default_endpoints, settings.path("invoke")
    batch = {
        "type": "object",
        "required": ["requests"],
        "additionalProperties": False,
        "properties": {
            "requests": {
                "type": "array",
                "minItems": 1,
                "maxItems": settings.max_batch,
                "items": _reference("InvokeRequest"),
            }
        },
    }
    results = {"type": "object", "properties": {"results": {"type": "array", "items": _reference("InvokeResponse")}}}
    paths: dict[str, Any] = {}
    if "INVOKE" in wanted:
        result = _answer("The result.", _reference("InvokeResponse"))
        failed = {
            "500": _answer("A step failed.", _reference("InvokeResponse")),
            "504": _answer("It did not end in time.", _reference("InvokeResponse")),
        }
        stream = {"description": "Events `item` and `result`.", "content": {"text/event-stream": {"schema": _EVENT}}}
        paths[invoke] = _post("invoke", "Run the pipeline and answer with its outputs", {"200": result} | failed, keyed)
        paths[invoke]["post"]["parameters"] = [_STICKY]
        paths[f"{invoke}/stream"] = _post(
            "invoke_stream", "The same; what steps yield comes as it is made", {"200": stream}, keyed
        )
        paths[f"{invoke}/batch"] = _post(
            "invoke_batch", "Several at once", {"200": _answer("All results, in order.", results)}, keyed, batch
        )
    if "SUBMIT" in wanted:
        paths |= _submitted(settings.path("submit"), keyed)
    looks = {"HEALTH": [("health", settings.path("health"), "Whether the process answers")]}
    looks["HEALTH"].append(
        ("ready", f"{settings.root_url_path}{settings.api_url_path}/ready", "Whether it takes requests")
    )
    looks["INFO"] = [("info", settings.path("info"), "What is served, and how it goes")]
    for group, rows in looks.items():
        for name, path, summary in rows if group in wanted else ():
            told = {"200": _answer(summary, _OBJECT)}
            told |= {"503": _answer("It does not.", _OBJECT)} if name in ("ready", "info") else {}
            paths[path] = {"get": {"operationId": name, "summary": summary, "responses": told}}
    if "METRICS" in wanted:
        text = {"description": "For Prometheus.", "content": {"text/plain": {"schema": _TEXT}}}
        told = {"200": text, "503": _problem("It starts.")}
        paths[settings.path("metrics")] = {
            "get": {"operationId": "metrics", "summary": "Counts and durations", "responses": told}
        }
    return paths


_SUBMISSION = {
    "type": "object",
    "required": ["run_id", "state", "submitted", "started", "ended", "attempts", "status", "result"],
    "properties": {
        "run_id": {**_TEXT, "description": "The id of the run that it is, or will be."},
        "state": {"enum": ["queued", "running", "cancelling", "completed", "failed", "cancelled"]},
        "submitted": {**_TEXT, "format": "date-time"},
        "started": {"type": ["string", "null"], "format": "date-time"},
        "ended": {"type": ["string", "null"], "format": "date-time"},
        "attempts": {"type": "integer", "description": "How often it was begun."},
        "status": {"type": ["integer", "null"], "description": "What `/invoke` would have answered with."},
        "result": {
            "description": "Its body.",
            "anyOf": [
                {"$ref": "#/components/schemas/InvokeResponse"},
                {"$ref": "#/components/schemas/Problem"},
                {"type": "null"},
            ],
        },
    },
}
_EVENT = {
    "type": "object",
    "description": "Each of the events. `data` is JSON: of `item` its step, output, index and value; of `result` an InvokeResponse.",
    "required": ["event", "data"],
    "properties": {"event": {"enum": ["item", "result"]}, "data": _TEXT},
}
_ID = {"name": "id", "in": "path", "required": True, "schema": _TEXT}
_WAIT = {
    "name": "Prefer",
    "in": "header",
    "description": "`wait=N`: answer when it has ended, or after N seconds.",
    "schema": _TEXT,
}
_STICKY = {
    "name": "Penstock-Sticky-Key",
    "in": "header",
    "description": "During a canary: requests with the same key are answered by the same snapshot.",
    "schema": _TEXT,
}
_KEY = {
    "name": "Idempotency-Key",
    "in": "header",
    "description": "Sent again with the same request: the one that was accepted before.",
    "schema": {"type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[!-~]+$"},
}


def _submitted(path: str, keyed: dict[str, Any]) -> dict[str, Any]:
    """The paths of requests that are carried out later."""
    there = _answer("How it stands.", _reference("Submission"))
    accepted = {"200": _answer("It has ended already.", _reference("Submission"))}
    accepted["202"] = _answer("It is on the disk, and will be carried out.", _reference("Submission")) | {
        "headers": {"Location": {"schema": _TEXT}, "Idempotency-Result": {"schema": _TEXT}}
    }
    submit = _post("submit", "Accept a request, to be carried out later", accepted, keyed)
    submit["post"]["parameters"] = [_KEY, _WAIT]
    submit["post"]["responses"]["507"] = _problem("The disk of the service is full.")
    refused = {
        "401": _problem("There is no key."),
        "403": _problem("This account may not call."),
        "404": _problem("There is no such request, or not any more."),
        "503": _problem("It cannot be looked up now."),
    }
    look = {"operationId": "submission", "summary": "How a submitted request stands, and its result"}
    cancel = {"operationId": "cancel_submission", "summary": "Have a submitted request end"}
    going = {"202": _answer("It is being stopped.", _reference("Submission"))}
    more: dict[str, Any] = {"parameters": [_ID, _WAIT], **keyed}
    return {
        path: submit,
        f"{path}/{{id}}": {"get": {**look, **more, "responses": {"200": there, **refused}}},
        f"{path}/{{id}}/cancel": {"post": {**cancel, **more, "responses": {"200": there, **going, **refused}}},
    }


def _problem(text: str) -> dict[str, Any]:
    return _answer(text, _reference("Problem"), "application/problem+json")


def _request(parameters: dict[str, Any]) -> dict[str, Any]:
    steps = {
        "type": "object",
        "description": "Values for single steps, by invocation id.",
        "additionalProperties": {
            "type": "object",
            "properties": {"parameters": _OBJECT},
            "additionalProperties": False,
        },
    }
    return {
        "type": "object",
        "additionalProperties": False,
        "required": ["parameters"] if parameters.get("required") else [],
        "properties": {
            "parameters": _reference("Parameters"),
            "steps": steps,
            "run_name": {
                "type": ["string", "null"],
                "description": "The name of the run; {date} and {time} are put in.",
            },
            "tags": {"type": "array", "items": _TEXT},
            "skip_artifact_materialization": {"type": "boolean", "description": "Keep no artifacts of this one."},
        },
    }


def _response() -> dict[str, Any]:
    return {
        "type": "object",
        "required": ["success", "outputs", "execution_time", "metadata", "error"],
        "properties": {
            "success": {"type": "boolean"},
            "outputs": _reference("Outputs"),
            "execution_time": {"type": "number", "description": "Seconds."},
            "metadata": _METADATA,
            "error": {"type": ["string", "null"]},
            "failure": _FAILURE,
        },
    }


def _post(
    name: str, summary: str, answers: dict[str, Any], keyed: dict[str, Any], body: dict[str, Any] | None = None
) -> dict[str, Any]:
    refused = {
        "400": "The body is no JSON.",
        "401": "There is no key.",
        "403": "This account may not call.",
        "408": "The body did not come in time.",
        "413": "The body is too large.",
        "422": "The values do not fit.",
        "503": "There is too much to do; `Retry-After` says when to come back.",
    }
    told = {status: _problem(text) for status, text in refused.items()}
    wanted = body or _reference("InvokeRequest")
    content = {"required": True, "content": {"application/json": {"schema": wanted}}}
    return {
        "post": {"operationId": name, "summary": summary, "requestBody": content, "responses": answers | told, **keyed}
    }


def _answer(text: str, schema: dict[str, Any], media: str = "application/json") -> dict[str, Any]:
    return {"description": text, "content": {media: {"schema": schema}}}


def _reference(name: str) -> dict[str, str]:
    return {"$ref": f"#/components/schemas/{name}"}


def _definitions(schema: dict[str, Any]) -> dict[str, Any]:
    return {name: _moved(one) for name, one in schema.get("$defs", {}).items()}


def _moved(schema: Any) -> Any:
    """`schema` without its own definitions, and with references to where they are now."""
    if isinstance(schema, list):
        return [_moved(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    return {
        key: f"#/components/schemas/{value.rpartition('/')[2]}" if key == "$ref" else _moved(value)
        for key, value in schema.items()
        if key != "$defs"
    }
