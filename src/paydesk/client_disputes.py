"""The library's front for disputes and reconciliation: `pay.disputes`, `pay.reconciliations`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

from paydesk import ids
from paydesk.client_parts import CustomerRef, _Part, id_of
from paydesk.flows import customers, dispute_evidence, dispute_suggestions, disputes, payments
from paydesk.flows import reconcile as reconciling
from paydesk.flows.dispute_views import DisputeView, FileView
from paydesk.flows.reconcile import Drift, Reconciliation
from paydesk.results import Listing, Payment
from paydesk.rules.money import Money

#: Who drafts and submits where nobody is named: the application itself.
APPLICATION = "application"


@dataclass(frozen=True, slots=True, kw_only=True)
class Dispute:
    """A dispute. `status` is warning, needs_response, under_review, won, lost or closed.
    `withdrawn` and `reinstated` are the sums taken and given back so far, fees apart."""

    id: str
    customer: str
    payment: str
    status: str
    reason: str
    amount: Money
    withdrawn: Money
    reinstated: Money
    fee: Money
    loss: Money
    due_at: datetime | None
    evidence: Mapping[str, str] = field(hash=False)
    files: tuple[FileView, ...]
    provider: str
    provider_dispute: str
    submitted_at: datetime | None
    opened_at: datetime
    closed_at: datetime | None

    @classmethod
    def of(cls, view: DisputeView) -> Dispute:
        return cls(
            id=ids.show("dispute", view.id), customer=ids.show("customer", view.customer_id),
            payment=ids.show("payment", view.payment_id), status=view.state, reason=view.reason,
            amount=view.amount, withdrawn=view.withdrawn, reinstated=view.reinstated,
            fee=view.fee, loss=view.loss, due_at=view.due_at, evidence=view.evidence,
            files=view.files, provider=view.provider, provider_dispute=view.ref,
            submitted_at=view.submitted_at, opened_at=view.opened_at, closed_at=view.closed_at,
        )  # fmt: skip

    def __repr__(self) -> str:
        return f"<Dispute {self.id} {self.status} {self.amount}>"


#: A dispute: our id, the provider's, or the object.
DisputeRef = str | UUID | Dispute


class Disputes(_Part):
    """What banks bring up against payments, and what is said against it."""

    def get(self, dispute: DisputeRef) -> Dispute:
        """By our id or the provider's. Raises NotFound."""
        return Dispute.of(disputes.get(self._env, None, id_of(dispute)))

    def list(
        self,
        *,
        customer: CustomerRef | None = None,
        payment: str | UUID | Payment | None = None,
        status: str | None = None,
        limit: int | None = None,
    ) -> Listing[Dispute]:
        """Disputes, newest first: a payment's, a customer's, or everybody's."""

        def page(last: Any, n: int) -> Any:
            who = None if customer is None else customers.resolve(self._env, customer)
            paid = None
            if payment is not None:
                found = payments.get(self._env, who, id_of(payment))
                who, paid = found.customer_id, found.id
            return disputes.list_(
                self._env, who, payment_id=paid, status=status, limit=n,
                after=last.id if last else None,
            )  # fmt: skip

        return Listing(page, Dispute.of, limit)

    def suggest(self, dispute: DisputeRef) -> dict[str, str]:
        """Field -> text, of what is on record against it. Changes nothing."""
        return dispute_suggestions.suggest(self._env, *self._key(dispute))

    def draft(
        self, dispute: DisputeRef, *, by: str = APPLICATION, **texts: str | None
    ) -> Dispute:
        """Change texts of the evidence by the names of its fields; None takes one out.

        Raises InvalidRequest for a field that does not exist, DisputeClosed.
        """
        key = self._key(dispute)
        return Dispute.of(dispute_evidence.save_draft(self._env, *key, texts, by=by))

    def attach(
        self,
        dispute: DisputeRef,
        field: str,
        name: str,
        content: bytes,
        content_type: str = "application/pdf",
        *,
        by: str = APPLICATION,
    ) -> Dispute:
        """Add a PDF, PNG or JPEG, one for each field. Raises InvalidRequest, DisputeClosed."""
        return Dispute.of(dispute_evidence.add_file(
            self._env, *self._key(dispute), field=field, name=name, content=content,
            content_type=content_type, by=by,
        ))  # fmt: skip

    def submit(self, dispute: DisputeRef, *, by: str = APPLICATION) -> Dispute:
        """Send the draft to the bank, once; a repeat finds it done. Raises DisputeClosed."""
        return Dispute.of(dispute_evidence.submit(self._env, *self._key(dispute), by=by))

    def accept(self, dispute: DisputeRef, *, by: str = APPLICATION) -> Dispute:
        """Give the dispute up: it is lost. Raises DisputeClosed."""
        return Dispute.of(dispute_evidence.accept(self._env, *self._key(dispute), by=by))

    def _key(self, dispute: DisputeRef) -> tuple[UUID, UUID]:
        with self._env.db.read() as tx:
            return disputes.find(self._env, tx, id_of(dispute))


class Reconciliations(_Part):
    """A provider's books beside ours."""

    def run(
        self,
        provider: str = "stripe",
        *,
        since: datetime,
        until: datetime | None = None,
        fix: bool = False,
        by: str = APPLICATION,
    ) -> Reconciliation:
        """Compare item by item and wait for the end; with `fix` record what is missing here.

        Amounts are never changed. Raises NotSupported, ProviderUnavailable (`resume` goes on).
        """
        return reconciling.reconcile(self._env, provider, since, until, fix=fix, by=by)

    def resume(self, reconciliation: str | UUID | Reconciliation) -> Reconciliation:
        """Go on with a run that was left."""
        return reconciling.carry_on(self._env, _run_id(reconciliation))

    def get(self, reconciliation: str | UUID | Reconciliation) -> Reconciliation:
        """A run as it stands. Raises NotFound."""
        return reconciling.get(self._env, _run_id(reconciliation))

    def drifts(
        self,
        reconciliation: str | UUID | Reconciliation,
        *,
        kind: str | None = None,
        type: str | None = None,
        status: str | None = None,
        limit: int | None = None,
    ) -> Listing[Drift]:
        """What differs, by kind and the provider's reference."""

        def page(last: Any, n: int) -> Any:
            return reconciling.drifts(
                self._env, _run_id(reconciliation), kind=kind, type=type, state=status, limit=n,
                after=(last.kind, last.ref) if last else None,
            )  # fmt: skip

        return Listing(page, lambda one: one, limit)


def _run_id(value: str | UUID | Reconciliation) -> UUID:
    if isinstance(value, str):
        return ids.parse("reconciliation", value)
    return value if isinstance(value, UUID) else value.id
