"""What v1 takes and gives of disputes and reconciliations, as models."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, create_model

from paydesk.http.bodies import MAX_TEXT_LENGTH
from paydesk.http.fields import Instant, Strict
from paydesk.http.v1.models import Object, Out
from paydesk.rules.disputes import TEXT_FIELDS

_Text = Field(default=None, max_length=MAX_TEXT_LENGTH)
_fields: dict[str, Any] = dict.fromkeys(TEXT_FIELDS, (str | None, _Text))
EvidenceIn = create_model(
    "EvidenceIn", __base__=Strict, __module__=__name__,
    __doc__="Texts of the draft; null takes one out, what is not named stays.", **_fields,
)  # fmt: skip


class DisputeFileOut(Out):
    """`reached` says that the provider has it."""

    id: str
    object: Literal["dispute_file"]
    field: str
    name: str
    content_type: str
    size: int
    reached: bool
    uploaded_by: str | None
    created_at: str


class DisputeOut(Object):
    object: Literal["dispute"]
    customer: str
    payment: str
    provider: str
    provider_dispute_id: str
    status: Literal["warning", "needs_response", "under_review", "won", "lost", "closed"]
    reason: str
    amount: int
    amount_decimal: str
    currency: str
    withdrawn: int
    withdrawn_decimal: str
    reinstated: int
    reinstated_decimal: str
    loss: int
    loss_decimal: str
    fee: int
    fee_decimal: str
    due_at: str | None
    takes_evidence: bool
    evidence: dict[str, str]
    files: list[DisputeFileOut]
    submitted_at: str | None
    opened_at: str
    closed_at: str | None
    updated_at: str


class SuggestionsOut(Out):
    """What is on record, by field of evidence."""

    object: Literal["evidence_suggestions"]
    livemode: bool
    dispute: str
    evidence: dict[str, str]


class ReconciliationIn(Strict):
    """A window of a provider's books; `until` is now where none is named. With `fix`, what is
    missing here is recorded; amounts are never changed."""

    provider: str = Field(default="stripe", min_length=1, max_length=64)
    since: Instant
    until: Instant | None = None
    fix: bool = False


class DriftCount(Out):
    kind: str
    type: str
    status: Literal["open", "fixed", "manual", "gone"]
    count: int


class ReconciliationOut(Object):
    object: Literal["reconciliation"]
    provider: str
    account: str
    status: Literal["running", "done", "stopped"]
    fix: bool
    since: str
    until: str
    counts: dict[str, Any]
    drifts: list[DriftCount]
    has_drift: bool
    started_by: str | None
    ended_at: str | None


class DriftOut(Out):
    """`id` is kind:reference, for the cursor. `ours` and `theirs`: what was compared."""

    id: str
    object: Literal["drift"]
    kind: Literal["payment", "refund", "dispute", "fee"]
    reference: str
    type: Literal["missing_here", "missing_there", "amount", "currency", "status", "fee"]
    status: Literal["open", "fixed", "manual", "gone"]
    customer: str | None
    subject: str | None
    ours: dict[str, Any] | None
    theirs: dict[str, Any] | None
    error: str | None
    fixed_by: str | None
    fixed_at: str | None
    created_at: str
