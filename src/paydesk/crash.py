"""Named places where a test may let the process die; in production nothing is ever armed."""

from __future__ import annotations

import os
import threading
from typing import Literal

Mode = Literal["raise", "exit"]

#: What a process killed by signal 9 leaves as its status.
EXIT_STATUS = 137

#: Every place by name, with what has happened just before it. Tests enumerate these.
POINTS: dict[str, str] = {
    "promo_before_commit": "a use of the code is written, not committed",
    "promo_after_reserve": "a use of the code is reserved, no payment exists",
    "checkout_before_intend_commit": "payment, checkout, attempt and call written, not committed",
    "checkout_after_intend": "the pending payment and its provider call are committed",
    "before_provider_call": "the call is leased, nothing was sent",
    "after_provider_call": "the provider answered, nothing of it is stored",
    "call_before_done_commit": "what the provider answered is written, not committed",
    "call_after_done": "the provider's answer is committed, the caller has none",
    "old_call_before_settle": "an old call's session is ended and recorded, the call is open",
    "refund_before_commit": "refund, books, goods and its call are written, not committed",
    "refund_after_commit": "the refund and its call are committed, nothing was sent",
    "invoice_before_commit": "an invoice is finalized with its balance used, not committed",
    "number_before_commit": "numbers of documents are drawn, not committed",
    "number_after_draw": "numbers are drawn, no document carries them yet",
    "withdrawal_before_commit": "a withdrawal or a waiting transfer is decided, not committed",
    "statement_line_taken": "a statement's line is taken for a payment, its money not recorded",
    "webhook_before_store_commit": "the event row is written, not committed",
    "webhook_after_store": "the event is stored and not applied",
    "apply_after_fetch": "the provider was asked, no fact is stored",
    "fulfil_before_goods": "the money is recorded, the goods are not handed over",
    "fulfil_after_goods": "the goods are handed over, not committed",
    "apply_before_commit": "all facts of an event are written, not committed",
    "apply_after_commit": "all facts are committed, the event is not marked as done",
    "inbox_after_done": "the event is marked as done, the sender has no answer",
    "verify_before_apply": "the caller asked to verify, the provider was not asked",
    "verify_after_apply": "the payment is verified, the caller has no answer",
    "reconcile_after_drifts": "a page's drifts are written, nothing of it is mended",
    "reconcile_after_repair": "a page is mended, the run's cursor is not moved",
    "catalog_product_made": "the provider made or changed a product, nothing of it is stored",
    "catalog_price_made": "the provider made a price, its product is sold by another",
    "catalog_price_set": "the product is sold by the new price, the old one is not archived",
    "plan_price_made": "the provider made a plan's price, it is not kept",
    "catalog_adopted": "a product was made ours here, the provider does not know",
    "spend_before_step": "a group of spends was taken, nothing was sent",
    "spend_before_commit": "a group of spends is written, not committed",
    "spend_after_commit": "a group of spends is committed, no caller has an answer",
    "subscribe_before_commit": "subscription, invoice, payment and call written, not committed",
    "subscribe_after_commit": "subscription and first invoice are committed, nothing was sent",
    "renewal_invoiced": "the period's invoice is written, its charge is not",
    "renewal_before_commit": "a due step of a subscription is written, not committed",
    "renewal_after_commit": "a period's invoice and charge are committed, nothing was sent",
    "dunning_before_commit": "another try for an invoice is written, not committed",
    "dunning_after_commit": "another try for an invoice is committed, nothing was sent",
    "change_before_commit": "a change of plan is written, not committed",
    "change_after_commit": "a change's invoice and charge are committed, nothing was sent",
    "drop_before_commit": "that a waiting change is taken back is written, not committed",
    "drop_after_commit": "a waiting change is taken back, its payment not ended there",
    "refill_after_look": "a refill was decided on, its payment is not written",
    "refill_before_commit": "a refill's payment and its count are written, not committed",
    "clock_after_move": "a clock stands at the instant of a due row, which is not done",
    "clock_after_step": "what was due on a clock is done, the next was not looked for",
    "clock_before_finish": "nothing is due on a clock any more, it has not arrived",
    "provider_clock_made": "a provider made a clock, its name was not kept",
    "provider_clock_moved": "a provider moved its clock, that was not written",
    "provider_clock_before_look": "the desk came after a provider's clock, nothing was looked at",
    "publish_before_commit": "events were read, the feed's position is not committed",
    "publish_after_commit": "the feed's position is committed, nothing was pushed",
}


class CrashNow(BaseException):
    """The death of a process, played inside it: no handler of expected errors catches it."""


_lock = threading.Lock()
_armed: dict[str, tuple[Mode, int]] = {}


def at(name: str) -> None:
    """Die here when a test has armed this place; otherwise nothing."""
    if _armed:
        _hit(name)


def arm(name: str, mode: Mode = "raise", nth: int = 1) -> None:
    """Die at the `nth` passing from now on, once: `exit` ends the process, `raise` the thread."""
    if name not in POINTS:
        raise ValueError(f"{name!r} is not a crash point")
    with _lock:
        _armed[name] = (mode, nth)


def disarm() -> None:
    """Forget everything that was armed."""
    with _lock:
        _armed.clear()


def armed() -> dict[str, tuple[Mode, int]]:
    """What is armed: name -> (mode, passings left until it happens)."""
    return dict(_armed)


def arm_from(text: str) -> None:
    """Arm from a text `name[:mode[:nth]]`, several with commas; test builds read it at start."""
    for part in filter(None, (p.strip() for p in text.split(","))):
        given = part.split(":")
        name, mode, nth = (*given, *("", "exit", "1")[len(given) :])
        if mode not in ("raise", "exit"):
            raise ValueError(f"{mode!r} is neither 'raise' nor 'exit'")
        arm(name, mode, int(nth))


def _hit(name: str) -> None:
    with _lock:
        found = _armed.get(name)
        if found is None:
            return
        mode, left = found
        if left > 1:
            _armed[name] = (mode, left - 1)
            return
        del _armed[name]
    if mode == "exit":
        os._exit(EXIT_STATUS)
    raise CrashNow(name)
