"""Payers who come back from a provider that knows one return page for everybody.

Such a page is public, and what it is told can be made up or counted up. So nothing is shown and
nobody is asked by it: it only chooses among the orders whose secrets the payer's browser holds.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from paydesk import ids
from paydesk.errors import NotFound
from paydesk.flows.checkout import CheckoutView
from paydesk.providers.base import Provider
from paydesk.rules.payments import OPEN_STATES

Ask = Callable[[CheckoutView], CheckoutView]


def find(
    known: Provider, told: Mapping[str, str], mine: Sequence[CheckoutView], ask: Ask
) -> CheckoutView | None:
    """Which of a browser's orders a payer comes back from; None where it holds none of `known`.

    `mine`: the browser's orders, the last one first. `ask` looks how an order stands at the
    provider; it is called only where several are open and it is not known which one is named.
    """
    mine = [one for one in mine if one.payment.provider == known.name]
    ref = known.returned(told)
    if ref is not None:
        for one in mine:
            if _is_named(one, ref):
                return one
    still_open = [one for one in mine if one.payment.state in OPEN_STATES]
    if ref is not None and len(still_open) > 1:
        for one in still_open:
            if _is_named(asked := ask(one), ref):
                return asked
    return next(iter(still_open or mine), None)


def _is_named(one: CheckoutView, ref: str) -> bool:
    if ref in (one.payment.session_ref, one.payment.payment_ref):
        return True
    try:
        return ids.parse("payment", ref) == one.payment.id
    except NotFound:
        return False
