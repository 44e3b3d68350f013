"""Statements about goods name their customer, and have an index to go by in large tables."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

from goods_support import bought, course, given_back, membership, taken_back
from statements import keyless, recording
from test_purchase_plans import WHOLE, explained, read_whole

from paydesk.flows import access, payment_records, purchases, services

__all__ = ["explained"]

#: Statements that look over customers: sweeps for candidates, and everybody's for staff.
SWEEPS = ("from customer_services where state = 'active' and clock_id is null",
          "from access_grants where clock_id is null and ended_at is null")  # fmt: skip


def story(desk: Any) -> None:
    """Everything that is done with goods, once."""
    course(desk)
    membership(desk)
    user, cause = desk.make.user(), uuid4()
    views = [bought(desk, user, item="python"), bought(desk, user, service="premium_membership")]
    for view in views:
        taken_back(desk, view, cause)
        given_back(desk, view, cause)
    made = access.grant(desk.env, user.uuid, "lab:1", by="ana", days=1, request_key=uuid4())
    access.can(desk.env, user.uuid, "course:python")
    access.list_(desk.env, user.uuid, limit=5)
    access.list_(desk.env, user.uuid, active=True, after=made.id)
    access.revoke(desk.env, user.uuid, made.id, by="ana")
    purchases.list_(desk.env, user.uuid, limit=5)
    owned = purchases.get(desk.env, user.uuid, views[0].payment.id)
    purchases.list_(desk.env, user.uuid, after=owned.id)
    one = services.list_(desk.env, user.uuid)[0]
    services.get(desk.env, user.uuid, one.id)
    services.of_payment(desk.env, user.uuid, views[1].payment.id)
    payment_records.history(desk.env, user.uuid, limit=5)
    payment_records.history(desk.env, user.uuid, service_id=one.id, after=views[0].payment.id)
    desk.clock.set(one.expires_at)
    assert (services.end_due(desk.env), access.end_due(desk.env)) == (1, 2)


def test_no_statement_about_goods_reads_a_table_from_end_to_end(explained):
    """S1.9 S1.49: whether a customer may see something stays quick."""
    desk, plans = explained
    story(desk)
    found = {one for one in read_whole(plans) if one[0] not in WHOLE | {"items"}}
    assert len(plans) > 80 and found == set()


def test_every_statement_about_goods_names_its_customer(desk):
    """Scale: the rows of a customer stay together."""
    with recording() as recorder:
        story(desk)
    wrong = {
        text: keyless(text)
        for text, sender in recorder.sent.items()
        if sender.split(".")[2:3] in (["access"], ["purchases"], ["services"], ["goods"],
                                      ["payment_records"])
        and keyless(text) and not any(part in text for part in SWEEPS)
    }  # fmt: skip
    assert wrong == {}
    heard = {sender.split(".")[2] for sender in recorder.sent.values() if ".flows." in sender}
    assert {"access", "purchases", "services", "payment_records"} <= heard
