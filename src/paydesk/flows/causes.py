"""What took money of a payment again: its live refunds and its disputes, as they stand."""

from __future__ import annotations

from dataclasses import dataclass, replace
from uuid import UUID

from paydesk.db.postgres import Tx
from paydesk.rules.disputes import goods_of
from paydesk.tracker.stores.joined import ServicePayment


@dataclass(frozen=True, slots=True, kw_only=True)
class Cause:
    """A refund on its way or paid, or a dispute, in the payment's currency and minor units.

    A refund's amount is withdrawn. `loss` is what no captured money covered.
    """

    kind: str
    id: UUID
    state: str
    amount: int
    withdrawn: int
    reinstated: int
    loss: int

    @property
    def covered(self) -> int:
        """The captured money that it holds."""
        return self.withdrawn - self.reinstated - self.loss

    @property
    def goods(self) -> int:
        """The captured money whose goods are to be with us for it."""
        if self.kind == "refund":
            return self.covered
        return goods_of(self.state, self.amount, self.withdrawn, self.reinstated, self.loss)

    def with_cover(self, amount: int) -> Cause:
        """As it is when so much more of it is captured money."""
        return replace(self, loss=self.loss - amount)


def of_payment(tx: Tx, payment: ServicePayment) -> list[Cause]:
    """Every cause of a payment in its own currency, the oldest first."""
    rows = tx.all(
        "select l.kind, l.id, l.state, l.amount, l.withdrawn, l.reinstated, l.loss from ("
        " select 'refund' as kind, id, state, amount_minor as amount, amount_minor as withdrawn,"
        "  0::bigint as reinstated, loss_minor as loss, created_at from refunds"
        "  where customer_id = %(customer_id)s and payment_id = %(payment_id)s"
        "  and currency = %(currency)s and state in ('pending', 'succeeded')"
        " union all select 'dispute', id, state, amount_minor, withdrawn_minor, reinstated_minor,"
        "  loss_minor, created_at from disputes where customer_id = %(customer_id)s"
        "  and payment_id = %(payment_id)s and currency = %(currency)s and withdrawn_minor > 0"
        " ) l order by l.created_at, l.id",
        {
            "customer_id": payment.customer_id, "payment_id": payment.key[1],
            "currency": payment.currency,
        },
    )  # fmt: skip
    return [Cause(**row) for row in rows]


def left(payment: ServicePayment, found: list[Cause]) -> int:
    """Captured money that none of them took."""
    return max(0, payment.captured_cents - sum(one.covered for one in found))
