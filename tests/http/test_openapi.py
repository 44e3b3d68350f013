"""The OpenAPI document: checked in, complete, and true of what the service answers."""

from __future__ import annotations

import json
import re
from typing import Any

import jsonschema
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, settings
from schemathesis import checks
from service_document import DOCUMENT

from paydesk.http import app as application
from paydesk.http import auth, live, openapi

ENDLESS = live.STREAM_PATH


def test_the_document_that_is_checked_in_is_the_service_s():
    # `paydesk openapi > docs/openapi.json` after a change.
    assert json.loads(json.dumps(application.document())) == DOCUMENT


def test_the_document_is_valid_openapi_and_every_reference_leads_somewhere():
    # S3.18
    assert DOCUMENT["openapi"] == "3.1.0"
    text = json.dumps(DOCUMENT)
    for name in set(re.findall(r"#/components/schemas/(\w+)", text)):
        schema = DOCUMENT["components"]["schemas"][name]
        jsonschema.Draft202012Validator.check_schema(schema)
    names = [o["operationId"] for item in DOCUMENT["paths"].values() for o in item.values()]
    assert len(names) == len(set(names))


def test_the_hot_routes_stand_in_the_document_like_all_others(http):
    plain = openapi.plain_operations()
    assert {"/v1/credits/spend", "/v1/credits/spend/bulk", "/v1/credits/balance"} <= {
        path for path, _ in plain
    }
    for path, method in plain:
        operation = DOCUMENT["paths"][path][method]
        assert operation["responses"]["200"] and operation["responses"]["default"]
        assert operation["x-access"] and operation["summary"]
    assert http.get("/openapi.json").json() == json.loads(json.dumps(DOCUMENT))


def test_every_operation_says_what_it_does_and_how_it_refuses():
    for path, item in DOCUMENT["paths"].items():
        for operation in item.values():
            assert operation["summary"], path
            problem = operation["responses"]["default"]["content"]["application/problem+json"]
            assert problem["schema"]["$ref"].endswith("/Problem")


@pytest.mark.timeout(600)
def test_what_the_service_answers_is_what_the_document_says(sim, http, make):
    """A short run of schemathesis over every operation; each answer is held to its schema. What it
    makes up, which is most of the work, is asked by an administrator and by a customer."""
    make.pack()
    make.promo()
    make.credits(make.user("user_123"), 50)
    tokens = [auth.make_token(http.env.settings, "user_123", role=r) for r in ("admin", "customer")]
    schema = schemathesis.openapi.from_asgi("/openapi.json", http.app)
    chosen = (
        checks.not_a_server_error,
        schemathesis.checks.CHECKS.get_one("status_code_conformance"),
        schemathesis.checks.CHECKS.get_one("content_type_conformance"),
        schemathesis.checks.CHECKS.get_one("response_schema_conformance"),
    )
    tried: set[str] = set()
    for result in schema.get_all_operations():
        operation = result.ok()
        if operation.path == ENDLESS:
            continue

        @settings(
            max_examples=2, deadline=None, database=None, derandomize=True,
            phases=[Phase.generate], suppress_health_check=list(HealthCheck),
        )  # fmt: skip
        @schemathesis_given(operation)
        def try_it(case: Any) -> None:
            for token in tokens:
                case.headers = {**(case.headers or {}), "Authorization": f"Bearer {token}"}
                case.call_and_validate(checks=chosen)

        try_it()
        tried.add(f"{operation.method} {operation.path}")
    assert len(tried) == sum(len(item) for item in DOCUMENT["paths"].values()) - 1


def schemathesis_given(operation: Any) -> Any:
    from hypothesis import given

    return given(case=operation.as_strategy())


def test_a_real_purchase_answers_by_the_document(sim, http, user, make):
    """Answers with everything in them: schemathesis hardly makes a purchase by chance."""
    make.pack()
    make.promo("SAVE20", percent_off=20)
    made = user.post("/v1/checkouts", json={"pack": "creator", "promo": "SAVE20"})
    sim.pay(made.json()["payment"]["provider_session_id"])
    identity = made.json()["id"]
    payment = made.json()["payment"]["id"]
    spent = http.post("/v1/credits/spend", json={"customer": "user_123", "credits": 3})
    assert spent.status_code == 402
    answers = [
        ("post", "/v1/checkouts", made),
        ("post", "/v1/checkouts/{checkout}/verify", user.post(f"/v1/checkouts/{identity}/verify")),
        ("get", "/v1/checkouts/{checkout}", user.get(f"/v1/checkouts/{identity}")),
        ("get", "/v1/payments/{payment}", user.get(f"/v1/payments/{payment}?expand=customer")),
        ("get", "/v1/payments", http.get("/v1/payments?expand=customer")),
        ("post", "/v1/credits/spend", user.post("/v1/credits/spend", json={"credits": 3})),
        ("get", "/v1/credits/balance", user.get("/v1/credits/balance?expand=batches")),
        ("get", "/v1/credits/history", user.get("/v1/credits/history")),
        ("get", "/v1/credits/batches", user.get("/v1/credits/batches")),
        ("get", "/v1/events", user.get("/v1/events")),
        ("get", "/v1/promos", http.get("/v1/promos")),
        ("get", "/api/credits/payment-history", user.get("/api/credits/payment-history")),
        ("get", "/api/credits/payment-stats", user.get("/api/credits/payment-stats")),
        ("get", "/payment/credits/balance", user.get("/payment/credits/balance")),
        ("get", "/payment/credits/history", user.get("/payment/credits/history")),
        ("get", "/payment/credit-packs", user.get("/payment/credit-packs")),
        ("post", "/payment/credit-packs/{pack}/purchase",
         user.post("/payment/credit-packs/creator/purchase")),
        ("get", "/api/health", http.get("/api/health")),
    ]  # fmt: skip
    for method, path, answer in answers:
        assert answer.status_code < 300, (path, answer.text)
        told = DOCUMENT["paths"][path][method]["responses"][str(answer.status_code)]
        schema = told["content"]["application/json"]["schema"]
        validator = jsonschema.Draft202012Validator(
            {**schema, "components": DOCUMENT["components"]}
        )
        errors = [e.message for e in validator.iter_errors(answer.json())]
        assert not errors, (path, errors)
