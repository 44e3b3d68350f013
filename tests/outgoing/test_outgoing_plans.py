"""What goes out has an index to go by at each step, however long its history becomes."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from paydesk.db.postgres import Database
from paydesk.flows import (
    event_search,
    events,
    notifications,
    outgoing_feed,
    webhook_deliveries,
    webhook_endpoints,
)
from paydesk.ids import parse

#: Small by nature: what is new, the application's own endpoints and sinks.
WHOLE = {"news", "sinks", "webhook_endpoints", "customers", "heads"}


class Explained(Database):
    """A database whose every plan is kept; reading a whole table is its last resort."""

    plans: list[str]

    def _configure(self, conn: Any, lock_timeout_s: float | None = None) -> None:
        super()._configure(conn, lock_timeout_s)
        conn.execute("load 'auto_explain'")
        for name, value in (
            ("auto_explain.log_min_duration", "0"), ("client_min_messages", "log"),
            ("enable_seqscan", "off"), ("enable_hashjoin", "off"), ("enable_mergejoin", "off"),
        ):  # fmt: skip
            conn.execute("select set_config(%s, %s, false)", (name, value))
        conn.add_notice_handler(lambda notice: self.plans.append(notice.message_primary))


@pytest.fixture
def explained(env, db):
    opened = Explained(db.admin_dsn, max_size=6)
    opened.plans = []
    yield replace(env, db=opened), opened.plans
    opened.close()


def test_no_step_of_what_goes_out_reads_a_table_from_end_to_end(explained, make, receiver, clock):
    env, plans = explained
    one, _ = webhook_endpoints.create(env, receiver.url)
    outgoing_feed.drain(env)
    user = make.user(email="maya@northwind.example")
    make.credits(user, 50, days=20)
    events.publish(env)
    plans.clear()
    outgoing_feed.drain(env)
    webhook_deliveries.send_due(env, wait_s=None)
    webhook_deliveries.list_(env, one.id)
    [delivery] = webhook_deliveries.list_(env, one.id, limit=1)
    webhook_deliveries.attempts(env, webhook_deliveries.get(env, delivery.id))
    webhook_deliveries.redeliver(env, delivery.id)
    webhook_deliveries.redeliver_range(env, one.id, clock.now() - timedelta(days=1))
    webhook_deliveries.parked(env)
    webhook_deliveries.forget(env)
    clock.advance(days=14)
    notifications.tell_expiring(env)
    notifications.send_due(env)
    notifications.list_(env)
    with env.db.read() as tx:
        event_search.seq_of(tx, user.uuid, parse("event", events.list_events(env, user.uuid)[0].id))
    assert len(plans) > 20
    wrong = {
        (table, " ".join(plan.partition("Query Text:")[2].split())[:120])
        for plan in plans
        for table in re.findall(r"Seq Scan on (\w+)", plan)
        if table not in WHOLE
    }
    assert wrong == set()


def test_the_next_delivery_is_found_in_what_is_open_alone(explained, make, receiver):
    env, plans = explained
    webhook_endpoints.create(env, receiver.url)
    outgoing_feed.drain(env)
    make.credits(make.user(), 5)
    events.publish(env)
    outgoing_feed.drain(env)
    plans.clear()
    webhook_deliveries.send_due(env, wait_s=None)
    steps = [p for p in plans if "select min(seq) from webhook_deliveries" in p]
    assert steps and all("webhook_deliveries_open" in plan for plan in steps)
