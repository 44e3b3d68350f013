"""Links that lead to the page where one customer can buy an item.

A link names its customer, sealed: whoever holds it sees that customer's price and can pay for that
customer, and nothing else.
"""

from __future__ import annotations

from datetime import timedelta
from urllib.parse import urlencode
from uuid import UUID

from paydesk import ids
from paydesk.env import Env
from paydesk.flows.items import Item
from paydesk.seals import seal, unseal

#: How long a link names its customer; later it shows the offer to nobody in particular.
LINK_DAYS = 7
_PURPOSE = "offer"


def url(env: Env, item: Item, customer: UUID | str | None) -> str:
    """Where an item is offered to a customer: ours, or the application's own id of one who is
    not known here yet."""
    told = {"item": item.key}
    if customer is not None:
        until = env.now() + timedelta(days=LINK_DAYS)
        named = ids.show("customer", customer) if isinstance(customer, UUID) else customer
        content = {"c": named, "exp": int(until.timestamp())}
        told["for"] = seal(env.settings, _PURPOSE, content)
    return f"{env.settings.base_url}/portal/offer?{urlencode(told)}"


def named_by(env: Env, word: str) -> str | None:
    """Whom a link is for; None where it is for nobody, or is too old."""
    content = unseal(env.settings, _PURPOSE, word, env.now().timestamp()) if word else None
    return content["c"] if content else None
