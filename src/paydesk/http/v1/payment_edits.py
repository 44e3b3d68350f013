"""v1: payments that are made without a page, confirmed, captured, changed and hidden."""

from __future__ import annotations

from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from paydesk import ids
from paydesk.errors import InvalidRequest, NotPermitted, PaymentFailed
from paydesk.flows import direct, payment_edits, payments
from paydesk.flows.direct import NewPayment
from paydesk.flows.payments import PaymentView
from paydesk.http import fields, owners
from paydesk.http.auth import STAFF, Principal
from paydesk.http.fields import reply
from paydesk.http.idempotency import attempt_of, once
from paydesk.http.routes import at_provider, cell, env_of, router, who_of
from paydesk.http.v1.checkouts import started_by
from paydesk.http.v1.method_models import CaptureIn, PaymentChange, PaymentIn
from paydesk.http.v1.models import PaymentOut
from paydesk.http.v1.payments import payment_shape
from paydesk.rules.money import Money

payment_edits_v1 = router("payments")

PAYERS = ("customer", "admin", "service")
#: Who may say that money came where no provider can be asked.
TREASURERS = ("admin", "finance")


@payment_edits_v1.post(
    "/v1/payments", status_code=201, response_model=None, summary="Make a payment",
    responses={201: {"model": PaymentOut}}, **cell(*PAYERS, owner="own"),
)  # fmt: skip
async def create_payment(request: Request, body: PaymentIn) -> Response:
    """Charges a saved method or a token at once; with `confirm` false records a pending payment.

    A declined card is a 402 `payment_failed` that names the payment. `action_url` is to be opened
    where the status is `requires_action`.
    """
    return await at_provider(request, _create, request, body)


def _create(request: Request, body: PaymentIn) -> Response:
    env, who = env_of(request), who_of(request)
    wanted = _wanted(request, body)
    attempt = attempt_of(request, who)

    def work() -> Response:
        one = direct.process(env, wanted) if body.confirm else direct.create(env, wanted)
        check_paid(one)
        shown = payment_shape(one)
        return reply(shown, 201, {"Location": f"/v1/payments/{shown['id']}"})

    return once(env, attempt, wanted.customer_id, work)


def _wanted(request: Request, body: PaymentIn) -> NewPayment:
    env, who = env_of(request), who_of(request)
    amount = fields.money_of(
        body.amount, body.amount_decimal, body.currency, env.settings.default_currency
    )
    if body.wallet and amount is None:
        raise InvalidRequest("A wallet is filled with an amount.", param="wallet")
    if amount is not None and who.is_customer and not body.wallet:
        raise InvalidRequest(
            "With a customer's token what is in the catalogue can be bought; amounts are set by"
            " the application.", param="amount",
        )  # fmt: skip
    if who.is_customer and (body.off_session or not body.capture):
        raise NotPermitted("Only the application charges customers who are away, or holds money.")
    told: dict[str, Any] = {name: getattr(body, name) for name in (
        "pack", "credits", "item", "quantity", "service", "promo", "provider", "off_session",
        "capture", "return_url", "cancel_url", "description", "reference", "payable", "metadata",
    )}  # fmt: skip
    return NewPayment(
        customer_id=owners.owner(env, who, body.customer, create=True),
        wallet=amount if body.wallet else None, amount=None if body.wallet else amount,
        method=body.payment_method if body.confirm else body.method, email=body.email or who.email,
        **told, **started_by(attempt_of(request, who)),
    )  # fmt: skip


def check_paid(one: PaymentView) -> None:
    """Raise what a failed payment is in HTTP: 402, with the payment and the bank's code."""
    if one.state == "failed":
        raise PaymentFailed(
            one.failure_reason or "The payment was declined.",
            payment_id=ids.show("payment", one.id), provider_code=one.error_code,
        )  # fmt: skip


def may_confirm(env: Any, who: Principal, one: PaymentView) -> dict[str, Any]:
    """What confirming takes: nothing where the provider is asked, a treasurer where it cannot."""
    if "fetch" in env.providers[one.provider].can:
        return {}
    if who.role not in TREASURERS:
        raise NotPermitted(f"{one.provider} payments are confirmed by an administrator.")
    return {"by": who.caller}


@payment_edits_v1.post(
    "/v1/payments/{payment}/confirm", response_model=None, summary="Confirm a payment",
    responses={200: {"model": PaymentOut}}, **cell("customer", *STAFF, owner="own"),
)  # fmt: skip
async def confirm_payment(request: Request, payment: str) -> Response:
    """The provider is asked how it stands, and that is recorded: nobody's word counts but its
    own. Cash and the like are confirmed by administrators."""

    def work() -> Response:
        env, who = env_of(request), who_of(request)
        one = payments.get(env, owners.only_own(env, who), payment)
        more = may_confirm(env, who, one)
        return reply(payment_shape(direct.confirm(env, one.customer_id, one.id, **more)))

    return await at_provider(request, work)


@payment_edits_v1.post(
    "/v1/payments/{payment}/capture", response_model=None, summary="Take held money",
    responses={200: {"model": PaymentOut}}, **cell("admin", "service", "finance"),
)  # fmt: skip
async def capture_payment(request: Request, payment: str, body: CaptureIn) -> Response:
    """All of it, or `amount` of it: the rest is let go."""

    def work() -> Response:
        env, who = env_of(request), who_of(request)
        one = payments.get(env, None, payment)
        money = None if body.amount is None else Money(body.amount, one.currency, minor=True)
        attempt = attempt_of(request, who)
        return once(env, attempt, one.customer_id, lambda: reply(
            payment_shape(direct.capture(env, one.customer_id, one.id, money))
        ))

    return await at_provider(request, work)


@payment_edits_v1.post(
    "/v1/payments/{payment}/void", response_model=None, summary="Let held money go",
    responses={200: {"model": PaymentOut}}, **cell("admin", "service", "finance"),
)  # fmt: skip
async def void_payment(request: Request, payment: str) -> Response:
    def work() -> Response:
        env, who = env_of(request), who_of(request)
        one = payments.get(env, None, payment)
        return once(env, attempt_of(request, who), one.customer_id, lambda: reply(
            payment_shape(direct.void(env, one.customer_id, one.id))
        ))

    return await at_provider(request, work)


@payment_edits_v1.patch(
    "/v1/payments/{payment}", response_model=None, summary="Change a payment",
    responses={200: {"model": PaymentOut}}, **cell("admin"),
)  # fmt: skip
async def change_payment(request: Request, payment: str, body: PaymentChange) -> Response:
    """Its words at any time; its status only to canceled or failed, once the provider has
    stopped it. 409 `use_confirm` and `use_refund` name the other doors."""

    def work() -> Response:
        env = env_of(request)
        told = {name: getattr(body, name) for name in body.model_fields_set}
        return reply(payment_shape(payment_edits.update(env, None, payment, **told)))

    return await at_provider(request, work)


@payment_edits_v1.delete(
    "/v1/payments/{payment}", response_model=None, summary="Hide a payment",
    responses={200: {"model": PaymentOut}}, **cell("admin"),
)  # fmt: skip
async def delete_payment(request: Request, payment: str) -> Response:
    """For payments that no money came for; the record and its events stay."""

    def work() -> Response:
        return reply(payment_shape(payment_edits.remove(env_of(request), None, payment)))

    return await at_provider(request, work)


@payment_edits_v1.post(
    "/v1/payments/{payment}/restore", response_model=None, summary="Show a hidden payment again",
    responses={200: {"model": PaymentOut}}, **cell("admin"),
)  # fmt: skip
async def restore_payment(request: Request, payment: str) -> Response:
    """Undoes the hiding; its state stays what it is."""

    def work() -> Response:
        return reply(payment_shape(payment_edits.restore(env_of(request), None, payment)))

    return await at_provider(request, work)
