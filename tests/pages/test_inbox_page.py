"""The dashboard's page of webhooks: what is parked and why, by what others were settled, replay."""

from __future__ import annotations

from provider_run import There

from paydesk.flows import inbox


def test_each_webhook_says_by_which_event_it_was_settled(billing, visitor):
    # S1.16: a renewal's events are one question
    there = There(billing)
    there.plan("pro")
    there.begin(there.user())
    there.go_on(days=31, hours=2)
    for one in there.waiting():
        inbox.receive_many(there.env, "stripe", [(one.body, one.headers)], lambda: None)
    while inbox.apply_waiting(there.env):
        pass
    with there.env.db.read() as tx:
        asker = tx.value("select distinct settled_by from provider_events"
                         " where settled_by is not null")  # fmt: skip
    page = visitor("support").get("/dashboard/webhooks").text
    assert page.count(f"Settled with <code>{asker}</code>") >= 3


def test_what_is_parked_is_shown_with_its_reason_and_replayed_there(billing, visitor):
    # I29: the dead letters
    there = There(billing)
    there.plan("pro")
    sub = there.subscribe(there.user())
    there.sim.pay(sub.page_ref)
    (one,) = there.sim.deliveries("checkout.session.completed")
    inbox.receive_many(there.env, "stripe", [(one.body, one.headers)], lambda: None)
    with there.env.db.transaction() as tx:
        tx.run("update provider_events set state = 'parked', error = 'It was poison.'")
    browser = visitor("admin")
    page = browser.get("/dashboard/webhooks?state=parked").text
    assert "It was poison." in page and one.event_id in page
    told = {"csrf": page.split('name="csrf" value="')[1].partition('"')[0],
            "provider": "stripe", "account": "", "event_id": one.event_id}  # fmt: skip
    assert "Replay" in page
    answer = browser.post("/dashboard/webhooks/replay", data=told)
    assert answer.headers["location"] == "/dashboard/webhooks?done=replayed"
    assert there.look(sub).state == "active"
    assert one.event_id not in browser.get("/dashboard/webhooks?state=parked").text
