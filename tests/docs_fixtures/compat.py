"""For docs/compat.md: a desk that runs, a token, a key, and someone who pays."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any


def setup(kit: Any) -> dict[str, Any]:
    home = str(Path(__file__).resolve().parent.parent / "http")
    if home not in sys.path:
        sys.path.insert(0, home)
    from http_support import running

    from paydesk import USD, sources
    from paydesk.assemble import build_env
    from paydesk.flows import catalog, customers, items, payments, plans, promos
    from paydesk.http import auth

    env = build_env(sources.load().settings, start_missing=False)
    kit.stack.callback(env.close)
    catalog.upsert_pack(env, "creator", name="Creator Pack", credits=150, price=USD("9.99"))
    promos.upsert_promo(env, "WELCOME10", percent_off=10)
    customers.ensure(env, "user_456")
    items.upsert(env, "python-course", name="Python from Nothing", price=USD("49.99"),
                 grants=["course:python"])  # fmt: skip
    items.upsert(env, "premium_membership", name="Premium Membership", price=USD("549.99"),
                 kind="service", duration_months=6)  # fmt: skip
    plans.upsert(env, "team", name="Team", price=USD("14.50"), least_quantity=3, most_quantity=50)
    plans.upsert(env, "gold", name="Gold Membership", kind="membership", price=USD("29.00"),
                 credits=300, credits_rollover="capped", credits_cap=900)  # fmt: skip
    return {
        "DESK": kit.stack.enter_context(running(env)),
        "TOKEN": auth.make_token(env.settings, "user_123"),
        "KEY": env.settings.secret_key,
        "pay": kit.sim.pay,
        "token": lambda: kit.sim.request("POST", "/v1/payment_methods", {
            "type": "card", "card": {"token": "tok_visa"}})["id"],
        "session_of": lambda ref: payments.get(env, None, ref).session_ref,
    }
