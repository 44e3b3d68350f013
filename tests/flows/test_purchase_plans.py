"""Every statement of a purchase has an index to go by, however large the tables become."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
from purchase import DECLINED, SWEEPS, Desk

from paydesk.db.postgres import Database
from paydesk.flows import checkout, inbox, payment_trail, payments

#: Small by nature, or read whole by design: the catalogue's list, what is new to publish.
WHOLE = {"news", "packs", "promos", "sinks", "heartbeats", "promo_uses"}


class Explained(Database):
    """A database whose every plan is kept. Reading a table from end to end is its last resort,
    so that it shows only where no index serves."""

    plans: list[str]

    def _configure(self, conn):
        super()._configure(conn)
        conn.execute("load 'auto_explain'")
        for name, value in (
            ("auto_explain.log_min_duration", "0"), ("client_min_messages", "log"),
            ("enable_seqscan", "off"), ("enable_hashjoin", "off"), ("enable_mergejoin", "off"),
            ("enable_bitmapscan", "off"),
        ):  # fmt: skip
            conn.execute("select set_config(%s, %s, false)", (name, value))
        conn.add_notice_handler(lambda notice: self.plans.append(notice.message_primary))


@pytest.fixture
def explained(desk, db):
    opened = Explained(db.admin_dsn, max_size=4)
    opened.plans = []
    yield Desk(replace(desk.env, db=opened), desk.sim, desk.make, desk.clock), opened.plans
    opened.close()


def read_whole(plans):
    """(table, statement) of every plan that reads a table, or all of an index, from end to end."""
    found = set()
    for plan in plans:
        text = " ".join(plan.partition("Query Text:")[2].split())[:160]
        for table in re.findall(r"Seq Scan on (\w+)", plan):
            found.add((table, text))
    return {one for one in found if one[0] not in WHOLE}


def test_no_statement_of_a_purchase_reads_a_table_from_end_to_end(explained):  # S1.9
    """Scale: the plans are those of large tables; 10 million payments change nothing."""
    desk, plans = explained
    desk.make.promo("WELCOME10", percent_off=10)
    view = desk.open(promo="WELCOME10")
    desk.pay(view, card=DECLINED)
    desk.pay(view)
    batch = [(one.body, one.headers) for one in desk.events(view)]
    inbox.receive_many(desk.env, "stripe", batch)
    assert desk.balance(view) == 150
    other = desk.open()
    checkout.verify(desk.env, other.payment.session_ref)
    checkout.expire_now(desk.env, other.customer_id, other.id)
    for told in ({}, {"customer_id": view.customer_id}):
        payments.list_(desk.env, **told, limit=5)
        payments.list_(desk.env, **told, limit=5, after=view.payment.id)
    payments.stats(desk.env, view.customer_id)
    payments.history(desk.env, view.customer_id)
    with desk.env.db.read() as tx:
        payment_trail.timeline(tx, payments.view(tx, view.customer_id, view.payment.id))
        payment_trail.attempts(tx, view.customer_id, view.payment.id)
    desk.clock.advance(minutes=40)
    # The sweep of codes looks through what is reserved now, which is little.
    desk.sweep(*(name for name in SWEEPS if name != "promo_uses"))
    assert len(plans) > 80
    assert read_whole(plans) == set()
