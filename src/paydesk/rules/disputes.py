"""Disputes: how one moves on, what its money is taken from, and what may be said against it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from paydesk.errors import InvalidRequest

#: How far a dispute has come. An inquiry that ended is behind a dispute that the bank opened.
_RANK = {"warning": 0, "closed": 1, "needs_response": 2, "under_review": 3, "won": 4, "lost": 4}
STATES = tuple(_RANK)
#: Something can still be said.
OPEN_STATES = frozenset({"warning", "needs_response"})
ENDED_STATES = frozenset({"won", "lost", "closed"})
#: While a dispute is so, its payment counts as disputed.
DISPUTED_STATES = frozenset({"needs_response", "under_review", "lost"})

#: Texts of evidence. https://docs.stripe.com/api/disputes/evidence_object
TEXT_FIELDS = (
    "access_activity_log", "billing_address", "cancellation_policy_disclosure",
    "cancellation_rebuttal", "customer_email_address", "customer_name", "customer_purchase_ip",
    "duplicate_charge_explanation", "duplicate_charge_id", "product_description",
    "refund_policy_disclosure", "refund_refusal_explanation", "service_date", "shipping_address",
    "shipping_carrier", "shipping_date", "shipping_tracking_number", "uncategorized_text",
)  # fmt: skip
#: Files of evidence, one for each.
FILE_FIELDS = (
    "cancellation_policy", "customer_communication", "customer_signature",
    "duplicate_charge_documentation", "receipt", "refund_policy", "service_documentation",
    "shipping_documentation", "uncategorized_file",
)  # fmt: skip
#: Characters of one text, and of all. https://docs.stripe.com/disputes/best-practices
MAX_TEXT, MAX_TEXTS = 20_000, 150_000
#: Bytes of all files of a dispute together. https://docs.stripe.com/disputes/responding
MAX_FILES_SIZE = 4_500_000
#: Kinds of files that banks read, and how each begins.
FILE_TYPES = {
    "application/pdf": b"%PDF-",
    "image/png": b"\x89PNG\r\n\x1a\n",
    "image/jpeg": b"\xff\xd8\xff",
}

_PLAIN_NAME = re.compile(r"[^\x00-\x1f\x7f/\\]{1,255}")


@dataclass(frozen=True, slots=True)
class Posting:
    """Money that a dispute withdrew from one account; `back` of it came again."""

    account: str
    amount: int
    back: int = 0


def next_state(state: str | None, told: str, *, is_withdrawn_again: bool = False) -> str:
    """The state after the provider told one: forward only, however late or twice it is told.

    `is_withdrawn_again`: the news carries a withdrawal after an earlier one, so that it is newer
    than what is known. Only then an ended dispute goes on, or is lost after it was won. One that
    was lost may be won later.
    """
    if state is None or _RANK[told] > _RANK[state]:
        return told
    is_reopened = is_withdrawn_again and state in ENDED_STATES and told != "closed"
    if is_reopened or (state == "lost" and told == "won"):
        return told
    return state


def unwind(postings: Sequence[Posting], amount: int) -> list[int]:
    """How much of each posting comes back when `amount` is reinstated, the latest first."""
    left, parts = amount, [0] * len(postings)
    for i in range(len(postings) - 1, -1, -1):
        parts[i] = min(left, postings[i].amount - postings[i].back)
        left -= parts[i]
    assert left == 0, "more was reinstated than was withdrawn"
    return parts


def goods_are_ours(state: str, withdrawn: int, reinstated: int) -> bool:
    """Whether the goods are to be with us: their money is withdrawn and was not given back."""
    return withdrawn > reinstated and state != "won"


def goods_of(state: str, amount: int, withdrawn: int, reinstated: int, loss: int) -> int:
    """The captured money whose goods a dispute is to have taken, in minor units.

    A part that came back gives back no goods while the rest is gone, and money that went twice
    takes them once. What no captured money covered (`loss`) takes none.
    """
    if not goods_are_ours(state, withdrawn, reinstated):
        return 0
    return max(0, min(max(amount, withdrawn - reinstated), withdrawn - loss))


def check_texts(texts: Mapping[str, str | None], before: Mapping[str, str]) -> dict[str, str]:
    """The draft with these texts; None or an empty text takes one out. Raises InvalidRequest."""
    after = dict(before)
    for name, text in texts.items():
        if name not in TEXT_FIELDS:
            hint = "; it is a file" if name in FILE_FIELDS else ""
            raise InvalidRequest(
                f"{name[:64]!r} is no text of evidence{hint}. There are: {', '.join(TEXT_FIELDS)}.",
                param=name[:64],
            )
        if text is not None and not isinstance(text, str):
            raise InvalidRequest("Evidence is text.", param=name)
        if text is None or not text.strip():
            after.pop(name, None)
            continue
        if len(text) > MAX_TEXT or "\x00" in text:
            raise InvalidRequest(f"A text has at most {MAX_TEXT:,} characters.", param=name)
        after[name] = text
    if sum(len(text) for text in after.values()) > MAX_TEXTS:
        raise InvalidRequest(f"All texts together have at most {MAX_TEXTS:,} characters.")
    return after


def check_file(field: str, name: str, content: bytes, content_type: str, others: int) -> None:
    """Refuse a file that no bank would read. `others`: bytes of the dispute's other files."""
    if field not in FILE_FIELDS:
        raise InvalidRequest(
            f"{field[:64]!r} is no file of evidence. There are: {', '.join(FILE_FIELDS)}.",
            param="field",
        )
    if not _PLAIN_NAME.fullmatch(name) or not name.strip(". "):
        raise InvalidRequest("A file's name has 1 to 255 characters and no slash.", param="name")
    begins = FILE_TYPES.get(content_type)
    if begins is None:
        raise InvalidRequest(f"A file is one of {', '.join(FILE_TYPES)}.", param="content_type")
    if not content.startswith(begins):
        raise InvalidRequest(f"The file is no {content_type}.", param="content")
    if len(content) + others > MAX_FILES_SIZE:
        raise InvalidRequest(
            f"All files of a dispute have at most {MAX_FILES_SIZE:,} bytes together.",
            param="content",
        )
