"""Of what a provider bills together: the item that is a plan of ours, and what it alone decides.

A subscription may have other items there. They are charged, and stand on its invoices with their
own words; but periods, access and credits are those of the item that was sold here.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime

from paydesk.db.postgres import Tx
from paydesk.flows import provider_prices as prices
from paydesk.flows.subscription_steps import Sub
from paydesk.providers.billing import (
    RemoteInvoice,
    RemoteItem,
    RemoteLine,
    RemoteSubscription,
)


def candidates(sub: Sub | None, remote: RemoteSubscription) -> tuple[RemoteItem, ...]:
    """The items that may be the plan: the one that was sold as long as it is there."""
    known = sub.told.get("item") if sub else None
    return tuple(one for one in remote.items if one.id == known) or remote.items


def chosen(
    tx: Tx, provider: str, account: str, sub: Sub | None, remote: RemoteSubscription
) -> RemoteItem:
    """The item that is the plan; the first where none is."""
    found = candidates(sub, remote)
    sold = prices.sold(tx, provider, account, found)
    return sold.item if sold else found[0]


def with_period(remote: RemoteSubscription, item: RemoteItem) -> RemoteSubscription:
    """With the period of the item that was sold: others may have other intervals."""
    if item.period is None:
        return remote
    return replace(remote, period_start=item.period[0], period_end=item.period[1])


def own_lines(
    tx: Tx, sub: Sub, item: str | None, remote: RemoteSubscription | None,
    invoices: Iterable[RemoteInvoice],
) -> list[RemoteInvoice]:  # fmt: skip
    """The invoices, on which only the sold item's lines are of a period; others' are listed."""
    others = {one.id for one in remote.items if one.id != item} if remote else set()
    return [_own(tx, sub, one, item, others) for one in invoices]


def _own(
    tx: Tx, sub: Sub, one: RemoteInvoice, sold: str | None, others: set[str]
) -> RemoteInvoice:
    def is_own(line: RemoteLine) -> bool:
        if line.kind != "recurring" or line.item == sold or line.item is None:
            return True
        if line.item in others or line.price is None:
            return False
        # An item of before, which was replaced since.
        return prices.of_price(tx, sub.provider or "", sub.provider_account or "",
                               line.price) is not None  # fmt: skip

    if all(is_own(line) for line in one.lines):
        return one
    lines = tuple(line if is_own(line) else replace(line, kind="one_off") for line in one.lines)
    whole = [line.period for line in lines if line.kind == "recurring" and line.period]
    return replace(one, lines=lines, period=max(whole) if whole else one.period)


def is_period(one: RemoteInvoice) -> bool:
    """Whether an invoice bills a whole period, and not only what a change came to."""
    return any(line.kind == "recurring" and line.period for line in one.lines)


def begins(one: RemoteInvoice) -> datetime:
    """When the period begins that an invoice is counted with. What was used is billed when its
    period is over, with the invoice of the period that begins then."""
    assert one.period is not None, "it bills a period"
    start, end = one.period
    return end if end <= one.created_at else start
