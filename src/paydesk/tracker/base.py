"""What the tracker asks of a payment provider, whichever it is."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping

from .models import CheckoutSession, PaymentRecord, ProviderReport


class PaymentProvider(ABC):
    """A payment provider: Stripe, PayPal, a bank. Only `fetch` is needed to verify payments.

    A provider talks to the network and keeps nothing. It raises its own errors; the tracker
    leaves the payment as it was when it does.
    """

    #: The word kept in `PaymentRecord.provider`.
    name: str = ""

    @abstractmethod
    def fetch(self, session_id: str) -> ProviderReport:
        """Ask how a session stands. Has no effect and may be repeated."""

    def create_checkout(
        self, payment: PaymentRecord, *, success_url: str, cancel_url: str
    ) -> CheckoutSession:
        """Open a checkout for the payment. A repeat with the same `payment.id` opens no second."""
        raise TypeError(f"{type(self).__name__} opens no checkouts")

    def parse_webhook(self, body: bytes, headers: Mapping[str, str]) -> ProviderReport | None:
        """Check the signature and read the event; None when it is about no payment."""
        raise TypeError(f"{type(self).__name__} receives no webhooks")

    def refund(self, payment: PaymentRecord, amount_cents: int, *, key: str) -> int:
        """Give money back; returns the cents refunded in all. The same key refunds once."""
        raise TypeError(f"{type(self).__name__} gives no refunds")
