"""Secrets and cards are planted in every way in beside checkouts, and found nowhere."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import psycopg
import pytest
from psycopg import sql

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parent.parent / "faults"))
sys.path.insert(0, str(Path(__file__).parent.parent / "outgoing"))

from load import wait_for
from receiver import Receiver, receiving
from service import Service
from test_planted import GOOD, Planted, dump, pay, texts_that_look_like_cards

from paydesk.providers.stripe import SIMULATOR_KEY
from paydesk.simulator.testing import running_simulator

PASSWORD, WRONG = "Orchard-7-lantern-Quill", "Wrong-9-basket-Thistle"
#: What a provider's script in a browser needs, of any payment, setup or session.
INTENT_SECRET = re.compile(r"\b(?:pi|seti|cs)_\w+_secret_\w+")
CREDENTIALS = {
    "PAYPAL_CLIENT_ID": "paypal-id", "PAYPAL_CLIENT_SECRET": "paypalSecretOfTheTest0123456789",
    "PAYPAL_URL": "http://127.0.0.1:9", "PAYPAL_WEBHOOK_ID": "wh-1",
    "MONCASH_CLIENT_ID": "moncash-id", "MONCASH_CLIENT_SECRET": "moncashSecretOfTheTest0123456789",
    "MONCASH_URL": "http://127.0.0.1:9",
    "BTCPAY_URL": "http://127.0.0.1:9", "BTCPAY_API_KEY": "btcpayKeyOfTheTest0123456789",
    "JWT_REFRESH_SECRET": "refreshSecretOfTheTest0123456789abcdef",
    "BTCPAY_STORE_ID": "store", "BTCPAY_WEBHOOK_SECRET": "btcpayHookOfTheTest0123456789",
}  # fmt: skip


class Player:
    """Asks, and keeps what was said and which secrets were handed out on the way."""

    def __init__(self, url: str, key: str) -> None:
        self.said: list[str] = []
        self.handed: dict[str, str] = {}
        self._http = httpx.Client(base_url=url, timeout=30)
        self._key = key

    def __call__(self, method: str, path: str, *, key: str = "", **more: Any) -> httpx.Response:
        headers = {"Authorization": f"Bearer {key or self._key}", **more.pop("headers", {})}
        answer = self._http.request(method, path, headers=headers, **more)
        assert answer.status_code < 500 or answer.status_code in (502, 503), answer.text
        self.said.append(f"{answer.headers} {answer.text}")
        return answer

    def made(self, path: str, body: dict[str, Any], *secrets: str, **more: Any) -> dict[str, Any]:
        """Something that answers secrets this once: that one answer is allowed to hold them."""
        answer = self("POST", path, json=body, **more)
        assert answer.status_code in (200, 201), answer.text
        self.said.pop()
        found = answer.json()
        for name in secrets:
            self.handed[f"{path} {name} {len(self.handed)}"] = found[name]
        return found

    def close(self) -> None:
        self._http.close()


@pytest.fixture
def sandbox(settings, tmp_path) -> Iterator[Any]:
    with running_simulator(
        secret=settings.stripe_webhook_secret, secret_key=SIMULATOR_KEY,
        db=str(tmp_path / "simulator.sqlite"),
    ) as running:  # fmt: skip
        yield running


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as one:
        yield one


@pytest.fixture
def service(settings, sandbox, tmp_path) -> Iterator[Service]:
    told = replace(settings, simulator_url=sandbox.url)
    made = Service(told, tmp_path, PAYDESK_LOG_LEVEL="debug", PAYDESK_DATA_DIR=tmp_path / "data",
                   PAYDESK_OUTGOING_LOOPBACK="1", **CREDENTIALS)  # fmt: skip
    with made.running():
        yield made


def hand_out_secrets(ask: Player, receiver: Receiver) -> None:
    """Everything that is answered once and afterwards only known by its hash or its seal."""
    for path in ("/v1/keys", "/v1/webhook_endpoints"):
        body = {"name": "shop", "role": "service"} if "keys" in path else {"url": receiver.url}
        one = ask.made(path, body, "secret")
        roll = ("roll", {}) if "keys" in path else ("rotate", {})
        ask.made(f"{path}/{one['id']}/{roll[0]}", roll[1], "secret")
    ask("POST", "/v1/staff", json={"email": "rosa@example.com", "name": "Rosa", "role": "admin",
                                   "password": PASSWORD})  # fmt: skip
    ask("POST", "/v1/sessions", json={"email": "rosa@example.com", "password": WRONG})
    session = ask.made("/v1/sessions", {"email": "rosa@example.com", "password": PASSWORD},
                       "token")["token"]  # fmt: skip
    ask("GET", "/v1/staff", key=session)
    tokens = ask.made("/v1/tokens", {"subject": "user_1"}, "access_token", "refresh_token")
    newer = ask.made("/v1/tokens/refresh", {"refresh_token": tokens["refresh_token"]},
                     "access_token", "refresh_token")  # fmt: skip
    for used in (tokens, newer):
        ask("POST", "/v1/tokens/refresh", json={"refresh_token": used["refresh_token"]})
    ask("GET", "/v1/credits/balance", key=newer["access_token"])
    setup = ask.made("/v1/setups", {"customer": "user_1"}, "client_secret")
    ask("GET", f"/v1/setups/{setup['id']}")
    ask("POST", f"/v1/tokens/refresh?refresh_token={newer['refresh_token']}", json={})
    for provider in ("paypal", "moncash", "btcpay"):
        ask("POST", "/v1/checkouts", json={"customer": "user_1", "amount": 500, "currency": "usd",
                                           "provider": provider})  # fmt: skip


def plant_cards(ask: Player, dispute: str) -> list[tuple[str, int]]:
    """A card's number in every text of the newer ways in; answers what was said to each."""
    text, customer = f"card {GOOD}", {"customer": "user_1"}
    item = {"name": "Course", "amount": 900, "currency": "usd"}
    tries: list[tuple[str, str, dict[str, Any]]] = [
        ("POST", "/v1/payment_methods", {**customer, "token": GOOD}),
        ("POST", "/v1/payment_methods", {**customer, "token": "pm_card_visa",
                                         "metadata": {"a": text}}),
        ("POST", "/v1/setups", {**customer, "token": GOOD}),
        ("POST", "/v1/setups", {**customer, "metadata": {"a": text}}),
        ("PUT", "/v1/items/course", {**item, "metadata": {"a": text}}),
        ("PUT", "/v1/items/course", {**item, "description": text}),
        ("PATCH", f"/v1/disputes/{dispute}/evidence", {"uncategorized_text": text}),
        ("POST", "/v1/statements", {"content": f"date,amount,reference\n2026-01-02,5,{text}\n"}),
        ("POST", "/v1/webhook_endpoints", {"url": f"https://example.com/{GOOD}"}),
        ("POST", "/v1/webhook_endpoints", {"url": "https://example.com/", "description": text}),
        ("POST", "/v1/staff", {"email": "a@example.com", "name": text, "role": "support"}),
        ("POST", "/v1/sessions", {"email": f"{GOOD}@example.com", "password": PASSWORD}),
        ("POST", "/v1/keys", {"name": text, "role": "service"}),
        ("POST", "/v1/tokens", {"subject": text}),
        ("POST", "/v1/wallets", {**customer, "currency": GOOD}),
        ("POST", "/v1/catalog/sync", {"adopt": GOOD}),
        ("POST", "/v1/access_grants", {**customer, "resource": f"course:{GOOD}"}),
    ]  # fmt: skip
    said = [(f"{m} {p} {sorted(b)}", ask(m, p, json=b).status_code) for m, p, b in tries]
    for path in (f"/v1/setups/{GOOD}", f"/v1/payment_methods/{GOOD}?customer=user_1",
                 f"/v1/items/{GOOD}", f"/v1/disputes/{GOOD}",
                 f"/v1/statements/lines?reference={GOOD}"):  # fmt: skip
        ask("GET", path)
    png = b"\x89PNG\r\n\x1a\n" + b"0" * 20
    ask("POST", f"/v1/disputes/{dispute}/files?field=receipt&name={GOOD}.png", content=png,
        headers={"Content-Type": "image/png"})  # fmt: skip
    ask("POST", f"/v1/disputes/{dispute}/files", data={"field": "receipt"},
        files={"file": (f"card {GOOD}.png", png, "image/png")})  # fmt: skip
    return said


def disputed(ask: Player, sandbox: Any) -> str:
    """A payment, paid and disputed; the dispute's id."""
    pack = {"name": "Creator Pack", "credits": 150, "amount": 999, "currency": "usd"}
    ask("PUT", "/v1/packs/creator", json=pack)
    order = {"customer": "user_1", "pack": "creator", "email": "buyer@example.com"}
    url = ask("POST", "/v1/checkouts", json=order).json()["url"]
    pay(url, GOOD)
    session = urlsplit(url).path.rsplit("/", 1)[1]
    deliver(ask, sandbox, session)
    payment = ask("GET", "/v1/payments").json()["data"][0]
    # Saved methods that are charged, one of them with 3-D Secure: attempts keep what was answered.
    for method in ("pm_card_visa", "pm_card_threeDSecure2Required", "pm_card_chargeDeclined"):
        ask("POST", "/v1/payments", json={"customer": "user_1", "pack": "creator",
                                          "payment_method": method, "confirm": True})  # fmt: skip
        deliver(ask, sandbox, None)
    sandbox.dispute(payment["provider_payment_id"], reason="fraudulent")
    deliver(ask, sandbox, None)
    wait_for(lambda: ask("GET", "/v1/disputes").json()["data"], 30)
    return ask("GET", "/v1/disputes").json()["data"][0]["id"]


def deliver(ask: Player, sandbox: Any, about: str | None) -> None:
    more = {"about": about} if about else {}
    for one in sandbox.deliveries(**more):
        ask("POST", "/v1/webhooks/stripe", content=one.body, headers=dict(one.headers))


def binaries_of(database: Any) -> str:
    """Every bytea of the database, and every member of an array of them, as text."""
    found = []
    with psycopg.connect(database.admin_dsn) as conn:
        columns = conn.execute(
            "select table_name, column_name from information_schema.columns"
            " where table_schema = 'public' and data_type = 'bytea'"
        ).fetchall()
        for table, column in columns:
            query = sql.SQL("select {c} from {t} where {c} is not null")
            rows = conn.execute(query.format(c=sql.Identifier(column), t=sql.Identifier(table)))
            found += [f"{table}.{column} {bytes(value).decode('latin-1')}" for (value,) in rows]
    return "\n".join(found)


@pytest.mark.timeout(180)
def test_no_way_in_leaves_a_secret_or_a_card_behind(
    settings, database, sandbox, service, receiver, tmp_path
):
    """I37: methods, setups, evidence, statements, items, endpoints, staff, tokens, keys."""
    ask = Player(service.url, settings.secret_key)
    hand_out_secrets(ask, receiver)
    dispute = disputed(ask, sandbox)
    refused = plant_cards(ask, dispute)
    assert [one for one in refused if one[1] < 400] == []
    for path in ("/v1/events", "/v1/notifications", "/v1/webhook_endpoints", "/v1/keys",
                 "/v1/audit", "/v1/payment_methods?customer=user_1", "/metrics"):  # fmt: skip
        ask("GET", path)

    def is_published() -> bool:
        with psycopg.connect(database.admin_dsn) as conn:
            return conn.execute("select count(*) from news").fetchone() == (0,)

    wait_for(is_published, 30)
    wait_for(lambda: receiver.got, 30)
    service.terminate()
    service.ended(20)
    ask.close()
    planted = Planted({
        **ask.handed, "password": PASSWORD, "wrong password": WRONG,
        "API key": settings.secret_key, "signing secret": settings.stripe_webhook_secret,
        "secret of tokens": settings.jwt_secret, "provider key": SIMULATOR_KEY,
        **{name: value for name, value in CREDENTIALS.items() if "SECRET" in name or "KEY" in name},
        "a provider's raw card": '"checks"',
    })  # fmt: skip
    assert len(ask.handed) == 10 and all(planted.texts.values())
    whole = dump(database)
    assert "access.granted" not in whole and "refresh_tokens" in whole and "needs_response" in whole
    log = service.log.read_text(errors="replace")
    assert log.count('"request"') > 40
    places = {
        "database": whole, "binaries": binaries_of(database), "log": log,
        "answers": "\n".join(ask.said),
        "deliveries": "\n".join(f"{one.headers} {one.body.decode()}" for one in receiver.got),
        "files": "\n".join(path.read_bytes().decode("latin-1")
                           for path in (tmp_path / "data").rglob("*") if path.is_file()),
    }  # fmt: skip
    assert '"last4"' in whole  # What people know a card by is kept.
    found = {name: planted.found_in(text) for name, text in places.items()}
    assert found == {name: [] for name in places}
    secrets = {name: INTENT_SECRET.findall(text) for name, text in places.items()}
    assert secrets == {name: [] for name in places}
    assert texts_that_look_like_cards(database) == []


def test_the_search_reads_binaries_too(database, db):
    with psycopg.connect(database.admin_dsn) as conn:
        conn.execute("create table kept (content bytea)")
        conn.execute("insert into kept values ('sk_test_abc'::bytea)")
    assert Planted({"key": "sk_test_abc"}).found_in(binaries_of(database)) == ["key"]
