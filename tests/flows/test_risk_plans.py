"""What risk reads under a customer's lock is bounded, whatever the planner knows of the tables."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from paydesk import ids
from paydesk.db.postgres import Database
from paydesk.flows import risk
from paydesk.rules.money import USD

ROWS = 20_000
#: So many rows a statement may fetch, and so many pages it may look at.
MOST_ROWS, MOST_PAGES = 2_500, 4_000


class Measured(Database):
    """A database that tells of every statement what it read."""

    plans: list[dict]

    def _configure(self, conn):
        super()._configure(conn)
        conn.execute("load 'auto_explain'")
        for name, value in (
            ("log_min_duration", "0"), ("log_analyze", "on"), ("log_buffers", "on"),
            ("log_timing", "off"), ("log_format", "json"), ("log_nested_statements", "on"),
        ):  # fmt: skip
            conn.execute("select set_config(%s, %s, false)", (f"auto_explain.{name}", value))
        conn.execute("set client_min_messages = log")
        conn.add_notice_handler(lambda notice: self._keep(notice.message_primary))

    def _keep(self, text):
        self.plans.append(json.loads(text[text.index("{") :]))


@pytest.fixture
def measured(env, db):
    opened = Measured(db.admin_dsn, max_size=2)
    opened.plans = []
    yield replace(env, db=opened), opened.plans
    opened.close()


def read_by(node):
    """Rows that a plan's scans fetched, those it threw away among them."""
    here = 0
    if "Relation Name" in node or node["Node Type"] == "Bitmap Index Scan":
        each = node["Actual Rows"] + node.get("Rows Removed by Filter", 0)
        here = round(each * node["Actual Loops"])
    return here + sum(read_by(below) for below in node.get("Plans", ()))


def fill(db, make, clock):
    """One customer with very many payments, tries, methods; and very long lists."""
    who = make.user("user_1")
    names = [ids.new_owned(who.uuid) for _ in range(ROWS)]
    told = {"who": who.uuid, "ids": names, "now": clock.now()}
    with db.transaction() as tx:
        for table in ("payments", "attempts", "payment_methods", "risk_lists"):
            tx.run(f"alter table {table} set (autovacuum_enabled = false)")
        tx.run(
            "insert into payments (customer_id, id, state, provider, currency, asked_minor,"
            " price_minor, handle, request_key, request_hash, error_code, created_at)"
            " select %(who)s, i, 'expired', 'stripe', 'usd', 500, 500, i::text, i, '', 'expired',"
            "  %(now)s - interval '2 days' from unnest(%(ids)s::uuid[]) i",
            told,
        )
        tx.run(
            "insert into attempts (customer_id, id, payment_id, provider, state, ended_at,"
            " created_at) select %(who)s, i, i, 'stripe', 'expired', %(now)s,"
            "  %(now)s - interval '2 days' from unnest(%(ids)s::uuid[]) i",
            told,
        )
        tx.run(
            "insert into payment_methods (customer_id, id, provider, ref, kind, fingerprint,"
            " created_at, detached_at) select %(who)s, i, 'stripe', i::text, 'card', 'fp_1',"
            "  %(now)s - interval '2 days', %(now)s from unnest(%(ids)s::uuid[]) i",
            told,
        )
        tx.run(
            "insert into risk_lists (kind, value, action, created_at)"
            " select 'email', i::text, 'block', %(now)s from unnest(%(ids)s::uuid[]) i",
            told,
        )
    return who


@pytest.mark.by_hand
def test_weighing_reads_no_more_of_a_customer_with_very_many_payments(measured, make, clock):
    # S4.35 S1.9: it goes on while the customer is locked.
    env, plans = measured
    who = fill(env.db, make, clock)

    def weigh():
        with env.db.transaction(who.uuid) as tx:
            return risk._features(
                tx, clock.now(), who, USD("10.00"), email="x@example.com", card="fp_1",
                card_country="US", address="192.0.2.1", country="US",
            )  # fmt: skip

    for statistics in ("none", "fresh"):
        if statistics == "fresh":
            with env.db.transaction() as tx:
                tx.run("analyze")
        for _ in range(7):  # A statement that came often has a plan for whatever values.
            plans.clear()
            found = weigh()
            weighed = [one for one in plans if "fingerprint" in one["Query Text"]]
            assert len(weighed) == 1
            for one in weighed:
                pages = one["Plan"]["Shared Hit Blocks"] + one["Plan"]["Shared Read Blocks"]
                told = (statistics, read_by(one["Plan"]), pages, one["Query Text"])
                assert told[1] <= MOST_ROWS and pages <= MOST_PAGES, told
        assert (found.payments_24h, found.customers_of_card, found.listed) == (0, 1, None)
