"""Nobody waits for ever on a lane that has stopped."""

from __future__ import annotations

import psycopg
import pytest

from paydesk.errors import Unavailable
from paydesk.flows import credits
from paydesk.flows.credits import new_spend


def test_an_item_put_off_to_a_stopped_lane_hears_of_it(wide, make, monkeypatch):  # I27
    user, other = make.user().uuid, make.user().uuid
    make.credits(other, 5)

    credits.spend_now(wide, new_spend(other, 1))  # The first use starts the lanes.

    def stopped(works, *, is_checked=False):
        raise Unavailable("The lanes have been closed.")

    monkeypatch.setattr(wide.lanes.waiting, "put", stopped)
    with psycopg.connect(wide.db.dsn) as elsewhere:
        elsewhere.execute(
            "select 1 from heads where customer_id = %s for no key update", (user,)
        )
        waiting = credits.spend_soon(wide, new_spend(user, 1))
        with pytest.raises(Unavailable, match="closed"):
            waiting.result(timeout=60)
    assert credits.spend_soon(wide, new_spend(other, 1)).result(timeout=60).status == "done"
