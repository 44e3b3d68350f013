"""The HTTP client of providers: exact numbers, and failures told apart by what they mean."""

from __future__ import annotations

import asyncio
import json
import re
import socket
from decimal import Decimal

import pytest
from provider_server import ProviderServer

from paydesk.errors import OutcomeUnknown, ProviderRefused, ProviderUnavailable
from paydesk.providers.circuit import AnswerUnclear, SlowDown
from paydesk.providers.http import AsyncHttp, Http, Rejection, decode, encode


@pytest.fixture
def server():
    made = ProviderServer()
    yield made
    made.close()


@pytest.fixture
def http(server):
    made = Http("Teller", server.url, 5, secrets=["top-secret"])
    yield made
    made.close()


def answering(server, status, body):
    server.routes.append(("POST", re.compile("/x"), lambda request: (status, body)))
    server.routes.append(("GET", re.compile("/x"), lambda request: (status, body)))


# I10 I37
@pytest.mark.parametrize(
    "status, reads, writes",
    [
        (400, ProviderRefused, ProviderRefused),
        (401, ProviderUnavailable, ProviderUnavailable),
        (403, ProviderUnavailable, ProviderUnavailable),
        (404, ProviderRefused, ProviderRefused),
        (409, ProviderUnavailable, OutcomeUnknown),
        (422, ProviderRefused, ProviderRefused),
        (429, SlowDown, SlowDown),
        (500, ProviderUnavailable, OutcomeUnknown),
        (503, ProviderUnavailable, OutcomeUnknown),
        (302, AnswerUnclear, AnswerUnclear),
    ],
)
def test_a_status_is_told_by_what_may_have_happened(http, server, status, reads, writes):
    answering(server, status, {"message": "no"})
    with pytest.raises(reads) as read:
        http.get("/x")
    with pytest.raises(writes) as wrote:
        http.post("/x", {"a": 1})
    assert (type(read.value), type(wrote.value)) == (reads, writes)


def test_a_lost_answer_is_unknown_where_something_was_made(http, server):
    answering(server, 200, {})
    server.lose_next = True
    with pytest.raises(OutcomeUnknown) as caught:
        http.post("/x", {"a": 1})
    assert type(caught.value) is OutcomeUnknown


def test_a_lost_answer_of_a_question_is_no_outcome_at_all(http, server):
    answering(server, 200, {})
    server.lose_next = True
    with pytest.raises(ProviderUnavailable):
        http.post("/x", {"a": 1}, reads=True)


def test_a_closed_port_took_nothing():
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with pytest.raises(ProviderUnavailable, match="nothing was sent"):
        Http("Teller", f"http://127.0.0.1:{port}", 2).post("/x", {})


def test_a_refusal_carries_its_sentence_and_its_code_and_no_secret(http, server):
    told = {"name": "TOO_MUCH", "message": "top-secret says: too much"}
    answering(server, 422, told)
    with pytest.raises(ProviderRefused, match="says: too much") as caught:
        http.post("/x", {})
    assert caught.value.extra == {"provider_code": "TOO_MUCH"}
    assert "top-secret" not in str(caught.value.to_problem())
    assert Rejection.of(caught.value).body == told


@pytest.mark.parametrize(
    "body, sentence",
    [
        ([{"path": "amount", "message": "Too small."}], "Too small."),
        ({"details": [{"issue": "A", "description": "Because."}], "message": "x"}, "Because."),
        ({"error": "invalid"}, "invalid"),
        ("text", "refused the request"),
        ({}, "refused the request"),
    ],
)
def test_the_reason_is_found_wherever_it_stands(http, server, body, sentence):
    answering(server, 400, body)
    with pytest.raises(ProviderRefused, match=re.escape(sentence)):
        http.get("/x")


def test_numbers_keep_their_digits_both_ways(http, server):
    server.routes.append(("POST", re.compile("/x"), lambda r: (200, {"cost": 12.50})))
    answer = http.post("/x", {"amount": Decimal("1250.50"), "n": [1, None, True, "é"]})
    assert b'"amount": 1250.50' in server.requests[-1].body
    assert answer["cost"] == Decimal("12.5") and isinstance(answer["cost"], Decimal)


def test_the_same_value_is_the_same_text_in_any_order_of_its_keys():
    assert encode({"b": 1, "a": {"d": 1, "c": "\""}}) == encode({"a": {"c": "\"", "d": 1}, "b": 1})
    assert json.loads(encode({"a": ["x\n", 1.5, False]})) == {"a": ["x\n", 1.5, False]}


def test_what_is_no_number_of_json_is_not_sent():
    with pytest.raises(ValueError):
        encode({"a": float("nan")})


@pytest.mark.parametrize("content", [b"<html>", b"\xff", b"[" * 100_000])
def test_what_is_no_json_is_none(content):
    assert decode(content) is None


def test_an_awaited_client_answers_the_json_itself(http, server):
    answering(server, 200, {"token": "t1"})
    asked = AsyncHttp(http)

    async def both():
        return await asyncio.gather(asked.get("/x"), asked.post("/x", {"a": 1}))

    assert asyncio.run(both()) == [{"token": "t1"}] * 2
    assert asyncio.run(asked.get("/x")) == {"token": "t1"}


# I34
@pytest.mark.parametrize("content", [
    b'{"a": "x\xed\xa0\x80y"}', '{"a": "x\\ud800y"}'.encode("utf-16"),
    '{"a": "x\\u0000y"}'.encode("utf-16-le"), '{"a": "x\\u0000y"}'.encode("utf-32"),
])  # fmt: skip
def test_what_an_answer_says_can_be_kept_in_whatever_bytes_it_came(content):
    assert set(decode(content)["a"][1:-1]) == {"\ufffd"}
    assert decode('{"a": "서울 편지"}'.encode()) == {"a": "서울 편지"}
