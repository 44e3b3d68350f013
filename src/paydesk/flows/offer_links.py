"""Links that lead to the page where one customer can buy an item or begin a plan.

A link names its customer, sealed: whoever holds it sees that customer's price and can pay for that
customer, and nothing else.
"""

from __future__ import annotations

from datetime import timedelta
from urllib.parse import urlencode
from uuid import UUID

from paydesk import ids
from paydesk.env import Env
from paydesk.flows import heads
from paydesk.flows.items import Item
from paydesk.flows.plans import Plan
from paydesk.seals import seal, unseal

#: How long a link names its customer; later it shows the offer to nobody in particular.
LINK_DAYS = 7
_PURPOSE = "offer"


def url(env: Env, what: Item | Plan, customer: UUID | str | None) -> str:
    """Where an item or a plan is offered to a customer: ours, or the application's own id of one
    who is not known here yet."""
    told = {"plan" if isinstance(what, Plan) else "item": what.key}
    if customer is not None:
        is_known = isinstance(customer, UUID)
        until = heads.now(env, customer if is_known else None) + timedelta(days=LINK_DAYS)
        named = ids.show("customer", customer) if is_known else customer
        content = {"c": named, "exp": int(until.timestamp())}
        told["for"] = seal(env.settings, _PURPOSE, content)
    return f"{env.settings.base_url}/portal/offer?{urlencode(told)}"


def named_by(env: Env, word: str) -> str | None:
    """Whom a link is for; None where it is for nobody, or is too old."""
    content = unseal(env.settings, _PURPOSE, word, 0.0) if word else None
    if content is None:
        return None
    named = content["c"]
    owner = ids.parse("customer", named) if ids.looks_like_customer(named) else None
    return named if heads.now(env, owner).timestamp() < content["exp"] else None
