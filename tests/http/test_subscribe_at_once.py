"""Over HTTP and by the library at once: one subscription of a family, one stable answer."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import httpx
from http_support import OWN_KEY, running

from paydesk import USD, Paydesk
from paydesk.errors import SubscriptionAlreadyActive


# I21! S4.38
def test_many_subscribe_over_http_and_by_the_library_and_one_does(env, sim):
    many = 4
    with Paydesk(env=env, background=False) as pay, running(env) as url:
        for key, price in (("pro", "20.00"), ("team", "50.00")):
            pay.plans.upsert(key, name=key.title(), price=USD(price), family="app")
        pay.methods.add("user_1", "pm_card_visa")
        start = Barrier(2 * many)

        def by_http(n: int) -> str:
            start.wait(30)
            found = httpx.post(
                f"{url}/v1/subscriptions", headers={"Authorization": f"Bearer {OWN_KEY}"},
                json={"customer": "user_1", "plan": ("pro", "team")[n % 2]}, timeout=60,
            )  # fmt: skip
            told = found.json()
            return told["status"] if found.status_code == 201 else (
                f"{found.status_code} {told['code']} {told['legacy_code']}")  # fmt: skip

        def by_library(n: int) -> str:
            start.wait(30)
            try:
                return pay.subscribe("user_1", ("pro", "team")[n % 2]).status
            except SubscriptionAlreadyActive as exc:
                return f"409 {exc.code} {exc.legacy_code}"

        with ThreadPoolExecutor(2 * many) as pool:
            asked = [pool.submit(way, n) for n in range(many) for way in (by_http, by_library)]
            found = sorted(one.result() for one in asked)
        assert found == ["409 subscription_already_active PAY004"] * (2 * many - 1) + ["active"]
        current = pay.subscriptions.current("user_1")
        assert current is not None
        assert len(list(pay.subscriptions.list("user_1", status="active"))) == 1
        paid = [one for one in pay.payments.list(customer="user_1") if one.status == "succeeded"]
        assert [one.amount for one in paid] == [current.price], "only it was charged"
