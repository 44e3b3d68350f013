"""Many payments are compared: exactly the known set that was dropped and altered is found.

`PAYDESK_PROVE=1` compares 5,000 and prints how long it took and how much memory the process had.
"""

from __future__ import annotations

import resource
import time
from datetime import timedelta

import pytest
from purchase import PROVE, Desk

from paydesk.flows import reconcile

MANY = 5_000 if PROVE else 40


def compared(desk: Desk, **more):
    now = desk.env.now()
    return reconcile.reconcile(desk.env, "stripe", now - timedelta(days=1), by="ada", **more)


def found(desk: Desk, run):
    return {(d.kind, d.type, d.ref) for d in reconcile.drifts(desk.env, run.id, limit=10_000)}


@pytest.mark.prove
@pytest.mark.timeout(3600)
def test_exactly_the_known_set_is_found_among_many(desk: Desk):  # S3.23 I40
    views = []
    for _ in range(MANY):
        view = desk.open()
        desk.pay(view)
        views.append(view)
    unheard, heard = views[::20], [v for i, v in enumerate(views) if i % 20]
    for view in heard:
        desk.deliver(view)
    desk.clock.advance(minutes=3)
    intents = [desk.sim.get(view.payment.session_ref)["payment_intent"] for view in heard]
    refunded, disputed, altered, gone = (intents[n::25][: MANY // 40] for n in range(4))
    wanted = {("payment", "missing_here", desk.sim.get(view.payment.session_ref)["payment_intent"])
              for view in unheard}  # fmt: skip
    for one in refunded:
        wanted.add(("refund", "missing_here", desk.sim.refund(one, 100, silent=True)["id"]))
    for one in disputed:
        wanted.add(("dispute", "missing_here", desk.sim.dispute(one, silent=True)["id"]))
    for one in altered:
        desk.sim.alter_amount(one, 1099)
        wanted.add(("payment", "amount", one))
    for one in gone:
        desk.sim.drop(one)
        wanted.add(("payment", "missing_there", one))
    began = time.perf_counter()
    looked = compared(desk)
    took = time.perf_counter() - began
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"{MANY:,} payments compared in {took:.1f} s, the process had {peak_mb:.0f} MB at most")
    assert found(desk, looked) == wanted
    assert found(desk, compared(desk, fix=True)) == wanted
    left = {one for one in wanted if one[1] in ("amount", "missing_there")}
    assert found(desk, compared(desk)) == left
