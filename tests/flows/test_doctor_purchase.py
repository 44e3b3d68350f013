"""The doctor sees money that a payment lost or gained, and goods that nobody will hand over."""

from __future__ import annotations

import psycopg
import pytest

from paydesk.flows import doctor


def broken(desk):
    return {one.check for one in doctor.check(desk.env.db) if not one.ok}


@pytest.mark.parametrize(
    ("change", "back", "found"),
    [
        ("update payments set captured_minor = captured_minor + 5000",
         "update payments set captured_minor = captured_minor - 5000", "captures_are_posted"),
        ("update fulfillments set payment_id = customer_id",
         "update fulfillments set payment_id = (select id from payments)", "paid_is_fulfilled"),
    ],
)  # fmt: skip
def test_a_paid_payment_out_of_step_is_found(desk, database, change, back, found):  # I1 I3
    view = desk.open()
    desk.pay(view)
    desk.deliver(view)
    assert broken(desk) == set()
    with psycopg.connect(database.admin_dsn, autocommit=True) as admin:
        admin.execute("set session_replication_role = replica")
        admin.execute(change)
        assert broken(desk) == {found}
        admin.execute(back)
