"""`paydesk events inbox` and `replay --parked`: what could not be applied, and once more."""

from __future__ import annotations

import json

from paydesk.flows import checkout, inbox
from paydesk.flows.checkout import StartCheckout


def lines(out: str) -> list[dict]:
    return [json.loads(line) for line in out.splitlines()]


def test_parked_webhooks_are_listed_with_the_reason_and_replayed(paydesk, env, sim, make):
    # I29 S2.12: a person sees what is parked, and takes it up again once it is mended
    assert paydesk("events", "inbox") == (0, "", "")
    make.pack()
    view = checkout.start(env, StartCheckout(customer_id=make.user("user_1").uuid, pack="creator"))
    sim.pay(view.payment.session_ref)
    (one,) = sim.deliveries("checkout.session.completed", about=view.payment.session_ref)
    sim.fault("500", "/v1/*")
    inbox.receive(env, "stripe", one.body, one.headers)
    with env.db.transaction() as tx:
        tx.run("update provider_events set state = 'parked', error = 'It was poison.'")
    code, out, _ = paydesk("events", "inbox")
    (row,) = lines(out)
    assert code == 0
    assert (row["id"], row["state"], row["why"]) == (one.event_id, "parked", "It was poison.")
    code, out, _ = paydesk("events", "replay", "--parked")
    (row,) = lines(out)
    assert (code, row["event"], row["state"]) == (0, one.event_id, "done")
    assert paydesk("events", "inbox") == (0, "", "")
    assert [row["state"] for row in lines(paydesk("events", "inbox", "--state", "")[1])] == ["done"]


def test_one_that_fails_again_is_no_success(paydesk, env):
    with env.db.transaction() as tx:
        tx.run(
            "insert into provider_events (provider, account, event_id, type, body, state, try_at)"
            " values ('gone', '', 'evt_gone', 'odd', '{}', 'parked', %(now)s)", {"now": env.now()},
        )  # fmt: skip
    code, out, _ = paydesk("events", "replay", "--parked")
    (row,) = lines(out)
    assert code == 1
    assert "No provider is called 'gone'" in row["why"]


def test_a_replay_names_one_or_all(paydesk):
    for told in ([], ["evt_1", "--parked"]):
        code, _, err = paydesk("events", "replay", *told)
        assert code == 2 and "invalid_request" in err
    assert paydesk("events", "inbox", "--state", "odd")[0] == 2
