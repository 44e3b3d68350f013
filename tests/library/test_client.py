"""The library's front: the documented samples, answers, errors, and a caller's own transaction."""

from __future__ import annotations

import dataclasses
from datetime import timedelta

import psycopg
import pytest

from paydesk import USD, InsufficientCredits, InvalidPromoCode, Paydesk, results
from paydesk.errors import Conflict, IdempotencyKeyReused, InvalidRequest, NotFound


@pytest.fixture
def shop(pay):
    pay.packs.upsert("creator", name="Creator Pack", credits=500, price=USD("54.50"),
                     expires_days=365)  # fmt: skip
    pay.promos.upsert("WELCOME10", percent_off=10, packs=["creator"], per_customer=1)
    return pay


URLS = {"success_url": "https://app.example.com/thanks",
        "cancel_url": "https://app.example.com/pricing"}  # fmt: skip


def test_a_pack_is_sold_and_verified_without_a_webhook(shop, sim):
    """The documented sample: a checkout with a code, paid, verified twice, credited once."""
    session = shop.checkout(customer="user_123", email="maya@example.com", pack="creator",
                            promo="WELCOME10", **URLS)  # fmt: skip
    assert str(session.total) == "USD 49.05" and session.status == "open"
    assert session.page_url.rpartition("/checkout/")[2].startswith(session.id)
    sim.pay(session.payment.provider_session)
    for _ in range(2):
        session = shop.verify(session.id)
        assert session.payment.status == "succeeded"
        assert shop.credits.balance("user_123") == 500
    assert session.path == session.payment.path == "verify"
    assert shop.verify(session) == shop.verify(session.payment) == session
    line = shop.credits.history("user_123", limit=3).first()
    assert (line.type, line.amount, line.balance_after) == ("CREDIT_PURCHASE", 500, 500)
    assert line.batch == shop.credits.batches("user_123")[0].id
    assert [p.status for p in shop.payments.list(customer="user_123")] == ["succeeded"]
    assert shop.payments.get(session.payment.id) == session.payment == shop.payments.get(session)


def test_the_public_address_decides_which_page_a_customer_is_sent_to(shop, env):
    """Where no service is reachable, the provider's page is."""
    session = shop.checkout("user_1", pack="creator", **URLS)
    assert session.url == session.provider_url
    served = dataclasses.replace(env, settings=dataclasses.replace(
        env.settings, public_url="https://pay.example.com"))  # fmt: skip
    ours = Paydesk(env=served).checkout("user_1", pack="creator", **URLS)
    assert ours.url == ours.page_url and ours.url.startswith("https://pay.example.com/checkout/cs_")


def test_the_same_key_is_the_same_session(shop):
    """I27"""
    one = shop.checkout("user_1", pack="creator", key="order-1042", **URLS)
    assert shop.checkout("user_1", pack="creator", key="order-1042", **URLS) == one
    with pytest.raises(IdempotencyKeyReused):
        shop.checkout("user_1", credits=20, key="order-1042", **URLS)
    assert shop.checkout("user_2", pack="creator", key="order-1042", **URLS).id != one.id


def test_an_applied_code_is_used_by_the_next_checkout(shop):
    """S4.18"""
    kept = shop.promos.apply("welcome10", "user_1", pack="creator")
    session = shop.checkout("user_1", pack="creator", **URLS)
    assert session.payment.id == results.ids.show("payment", kept.payment_id)
    assert session.total == kept.total == USD("49.05")
    assert shop.checkout("user_1", pack="creator", **URLS).total == USD("54.50")
    with pytest.raises(InvalidPromoCode) as refused:
        shop.promos.validate("WELCOME10", "user_1", pack="creator")
    assert (refused.value.reason, refused.value.legacy_code) == ("customer_limit_reached", "PAY003")


def test_spending_takes_the_oldest_and_says_where_to_buy_more(pay):
    """S4.27: the documented sample."""
    pay.credits.grant("user_123", 40, expires_days=90)
    spent = pay.spend("user_123", 12, reason="render", key="job-1")
    assert (spent.amount, spent.balance, spent.same) == (12, 28, False)
    again = pay.spend("user_123", 12, reason="render", key="job-1")
    assert (again.id, again.same) == (spent.id, True)
    assert spent.batches == ((pay.credits.batches("user_123")[0].id, 12),)
    with pytest.raises(InsufficientCredits) as refused:
        pay.spend("user_123", 29)
    assert (refused.value.needed, refused.value.balance) == (29, 28)
    assert refused.value.top_up_url.endswith("/portal")
    lines = [(e.type, e.amount, e.balance_after) for e in pay.credits.history("user_123")]
    assert lines == [("CREDIT_USAGE", -12, 28), ("CREDIT_GRANT", 40, 40)]


def test_a_balance_is_a_number_with_parts(pay, clock):
    pay.credits.grant("user_1", 30, expires_days=10)
    pay.credits.grant("user_1", 5, forever=True)
    found = pay.credits.balance("user_1")
    assert found == 35 and str(found) == "35" and found + 1 == 36
    assert found.by_kind == {"promotional": 35}
    assert found.next_expiry == pay.env.now() + timedelta(days=10)
    assert [amount for _, amount in found.by_expiry] == [30, 5]
    with pytest.raises(AttributeError):
        found.by_kind = {}
    clock.advance(days=10)
    assert pay.credits.balance("user_1") == 5


def test_a_spend_goes_back_in_parts(pay):
    """S4.30"""
    pay.credits.grant("user_1", 30)
    spent = pay.spend("user_1", 20)
    back = pay.credits.refund(spent, 5, key="r1")
    assert (back.amount, back.refundable, back.balance) == (5, 15, 15)
    assert pay.credits.refund(spent.id, 5, key="r1").same
    with pytest.raises(IdempotencyKeyReused):
        pay.credits.refund(spent, 6, key="r1")
    assert pay.credits.refund(spent).balance == 30


def test_credits_move_between_customers_of_one_owner(pay):
    """S4.8 C1"""
    pay.customers.upsert("team")
    pay.customers.upsert("member", owner="team")
    with pytest.raises(InvalidRequest):
        pay.credits.grant("team", 20, kind="gift")
    pay.credits.grant("team", 20, kind="membership")
    moved = pay.credits.transfer("team", "member", 8, key="t1")
    assert (moved.balance, moved.to_balance) == (12, 8)
    assert pay.credits.transfer("team", "member", 8, key="t1").same
    with pytest.raises(NotFound):
        pay.credits.transfer("team", "nobody", 1)


def test_a_callers_own_transaction_decides(pay, db):
    """The application's order row and the spend become true together, or neither."""
    pay.credits.grant("user_1", 30)
    with psycopg.connect(db.owner_dsn) as conn:
        conn.execute("create table orders (id int)")
        conn.commit()
        conn.execute("insert into orders values (1)")
        assert pay.using(conn).spend("user_1", 10, key="o1").balance == 20
        assert pay.using(conn).balance("user_1") == 20 and pay.credits.balance("user_1") == 30
        conn.rollback()
        assert pay.credits.balance("user_1") == 30
        conn.execute("insert into orders values (1)")
        pay.using(conn).spend("user_1", 10, key="o1")
        pay.using(conn).grant("user_1", 3)
        with pytest.raises(InsufficientCredits):
            pay.using(conn).spend("user_1", 100)
        conn.commit()
        assert conn.execute("select count(*) from orders").fetchone() == (1,)
        conn.commit()
        conn.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        with pytest.raises(ValueError, match="READ COMMITTED"):
            pay.using(conn).spend("user_1", 1)
    assert pay.credits.balance("user_1") == 23


def test_handlers_hear_of_a_payment_after_the_commit(shop, sim):
    """The documented sample: the order is found through the payment's metadata."""
    paid, everything = [], []
    shop.on("payment.succeeded")(lambda event: paid.append(event.payment.metadata["order_id"]))

    @shop.on("*")
    def keep(event):
        everything.append((event.sequence, event.type))

    shop.deliver()
    session = shop.checkout("user_1", pack="creator", metadata={"order_id": "1042"}, **URLS)
    sim.pay(session.payment.provider_session)
    assert paid == []
    shop.verify(session)
    shop.deliver()
    assert paid == ["1042"] and shop.deliver() == 0
    assert [n for n, _ in everything] == list(range(1, len(everything) + 1))
    assert {e.type for e in shop.events.list(customer="user_1")} == {t for _, t in everything}
    with pytest.raises(ValueError, match=r"payment\.succeded"):
        shop.on("payment.succeded")


def test_lists_read_page_by_page(pay, monkeypatch):
    monkeypatch.setattr(results, "PAGE", 3)
    pay.credits.grant("user_1", 100)
    for _ in range(7):
        pay.spend("user_1", 1)
    lines = pay.credits.history("user_1")
    assert [e.balance_after for e in lines] == [e.balance_after for e in lines] == [
        93, 94, 95, 96, 97, 98, 99, 100
    ]  # fmt: skip
    assert len(list(pay.credits.history("user_1", limit=4))) == 4
    for n in range(5):
        pay.promos.upsert(f"CODE{n}", percent_off=10)
        pay.customers.upsert(f"member_{n}")
    assert len(list(pay.promos.list())) == 5
    assert len(list(pay.customers.list(q="member_"))) == 5
    assert len(list(pay.events.list(customer="user_1"))) == 9


def test_ids_and_objects_are_taken_alike(shop):
    pack, promo = shop.packs.get("creator"), shop.promos.get("welcome10")
    maya = shop.customers.upsert("maya", email="maya@example.com")
    assert shop.packs.get(pack.id) == shop.packs.get(pack) == pack
    assert shop.promos.get(promo.id) == shop.promos.get(promo) == promo
    assert shop.customers.get(maya.id) == shop.customers.get(maya) == maya
    for who in (maya, maya.id, maya.uuid, "maya"):
        for what in (pack, pack.id, "creator"):
            assert shop.promos.validate("WELCOME10", who, pack=what).total == USD("49.05")
    assert shop.customers.upsert(maya, name="Maya").name == "Maya"
    event = shop.events.list(customer=maya).first()
    assert shop.events.get(event) == shop.events.get(event.id) == event
    assert [p.key for p in shop.packs.list()] == ["creator"]


def test_every_answer_is_frozen_and_says_itself_in_one_line(shop, sim):
    session = shop.checkout("user_1", pack="creator", **URLS)
    grant = shop.credits.grant("user_1", 10)
    answers = [
        session, session.payment, grant, spent := shop.spend("user_1", 4),
        shop.credits.refund(spent), shop.credits.batches("user_1")[0],
        shop.credits.history("user_1").first(), shop.events.list().first(),
        shop.packs.get("creator"), shop.promos.get("WELCOME10"), shop.customers.get("user_1"),
        shop.promos.validate("WELCOME10", "user_1", pack="creator"),
        shop.promos.apply("WELCOME10", "user_1", pack="creator"), shop.credits.balance("user_1"),
    ]  # fmt: skip
    for answer in answers:
        assert "\n" not in repr(answer) and len(repr(answer)) < 120 and repr(answer)[0] == "<"
        with pytest.raises((dataclasses.FrozenInstanceError, AttributeError, TypeError)):
            answer.amount = 1


def test_parallel_checkouts_of_one_customer_use_a_code_once(shop):
    """I18: also where every one of them wants the same product at the same instant."""
    from concurrent.futures import ThreadPoolExecutor

    shop.promos.upsert("FIRST", percent_off=20, first_purchase=True)

    def buy(n):
        try:
            return shop.checkout("user_9", pack="creator", promo=("WELCOME10", "FIRST")[n % 2])
        except (InvalidPromoCode, Conflict) as refused:
            return refused.code

    with ThreadPoolExecutor(8) as pool:
        outcomes = list(pool.map(buy, range(16)))
    sold = [one for one in outcomes if isinstance(one, results.Session)]
    assert len({one.payment.id for one in sold}) == len(sold) <= 2
    totals = sorted(str(one.total) for one in sold)
    assert len(set(totals)) == len(totals) and set(totals) <= {"USD 43.60", "USD 49.05"}
    uses = {code: shop.promos.get(code).used for code in ("WELCOME10", "FIRST")}
    assert max(uses.values()) <= 1 and sum(uses.values()) >= max(len(sold), 1)
    assert set(outcomes) - set(sold) <= {"invalid_promo_code", "conflict"}


def test_an_abandoned_checkout_gives_its_use_back_once(shop, clock):
    """I18 S4.41: only when the provider has confirmed the session's end."""
    from paydesk.worker import Worker

    session = shop.checkout("user_1", pack="creator", promo="WELCOME10")
    worker = Worker(shop.env)
    clock.advance(minutes=29)
    worker.run_once()
    assert shop.promos.get("WELCOME10").used == 1
    clock.advance(minutes=2)
    for _ in range(3):
        worker.run_once()
    assert shop.payments.get(session).status == "expired"
    assert shop.promos.get("WELCOME10").used == 0
    again = shop.checkout("user_1", pack="creator", promo="WELCOME10")
    assert again.total == USD("49.05") and shop.promos.get("WELCOME10").used == 1
