"""What waits for the period's end where the provider runs a subscription: shown as our own engine
shows it, for as long as the provider has it so, whoever asked for it there."""

from __future__ import annotations

from typing import Any

from paydesk.db.postgres import Tx
from paydesk.flows import provider_prices as prices
from paydesk.flows import subscription_steps as steps
from paydesk.flows.subscription_steps import Sub
from paydesk.logger import get_logger
from paydesk.providers.billing import RemoteNext, RemoteSubscription
from paydesk.rules import subscriptions as rules

log = get_logger(__name__)

#: What is kept of the price that is to come: its name there, and what one costs by it.
OF_NEXT = ("next_price", "next_minor")


def lay(tx: Tx, sub: Sub, remote: RemoteSubscription) -> bool:
    """Make ours what the provider has next, after its terms and times; answers whether something
    else waits now, or nothing any more. The caller saves it, and tells of it.

    What comes after the running period only is shown: what is planned for later is not yet. Where
    the provider did not say, what came about waits no more.
    """
    before = sub.next
    if remote.state in rules.ENDED:
        return False  # It ends with the subscription.
    if remote.says_next:
        sub.next = _next(tx, sub, remote, remote.next)
    elif before is not None and _runs(sub, before):
        sub.next = None
    if sub.next is None:
        sub.told = {name: one for name, one in sub.told.items() if name not in OF_NEXT}
    return before != sub.next


def _runs(sub: Sub, one: dict[str, Any]) -> bool:
    return (one["plan_id"], one["plan_version"], one["quantity"]) == (
        str(sub.plan_id), sub.plan_version, sub.quantity)  # fmt: skip


def _next(
    tx: Tx, sub: Sub, remote: RemoteSubscription, wanted: RemoteNext | None
) -> dict[str, Any] | None:
    if wanted is None or wanted.at > sub.period_end:
        return None
    others = {one.price for one in remote.items if one.id != sub.told.get("item")}
    items = [one for one in wanted.items if one.price not in others] or list(wanted.items)
    sold = prices.sold(tx, sub.provider, sub.provider_account, items)
    if sold is None:
        log.warning("a price that is to come stands for no plan", subscription=str(sub.id),
                    price=items[0].price)  # fmt: skip
        return None
    prices.keep(tx, sub.provider, sub.provider_account, sold)
    key, _ = steps.plan_words(tx, sold.plan_id)
    found = {
        "plan_id": str(sold.plan_id), "plan_version": sold.version, "plan": key,
        "quantity": sold.item.quantity,
    }  # fmt: skip
    if _runs(sub, found):
        return None
    sub.told = {**sub.told, "next_price": sold.item.price,
                "next_minor": sold.item.unit.minor if sold.item.unit else None}  # fmt: skip
    return found
