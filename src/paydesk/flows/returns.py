"""Payers who come back from a provider that knows one return page for everybody."""

from __future__ import annotations

from collections.abc import Mapping

from paydesk.env import Env
from paydesk.errors import NotFound, ProviderRefused
from paydesk.flows import checkout, payments
from paydesk.flows.checkout import CheckoutView


def find(env: Env, provider: str, told: Mapping[str, str]) -> CheckoutView:
    """The checkout that a return page's parameters lead to, as it is known here.

    The provider is asked only which payment its reference belongs to, and only where we do not
    know: whether it was paid is the next question (`checkout.verify`). Raises NotFound where the
    parameters lead nowhere, ProviderUnavailable and OutcomeUnknown where the provider had to be
    asked and did not answer.
    """
    known = env.providers[provider]
    ref = known.returned(told)
    if ref is None:
        raise NotFound("This address names no payment.")
    found = _known(env, provider, ref)
    if found is None and "fetch" in known.can:
        try:
            charge = env.providers.call(provider, "fetch", ref)
        except ProviderRefused as exc:
            raise NotFound(f"{known.title} knows no such payment.") from exc
        found = _known(env, provider, charge.payment_id) if charge.payment_id else None
    if found is None:
        raise NotFound("This payment is not known here.")
    return found


def _known(env: Env, provider: str, ref: str) -> CheckoutView | None:
    """A checkout of this very provider; None for everything else."""
    try:
        with env.db.read() as tx:
            customer_id, payment_id = payments.find(env, tx, ref)
        view = checkout.get_by_payment(env, customer_id, payment_id)
    except NotFound:
        return None
    return view if view.payment.provider == provider else None
