"""Every error that a caller may meet: a stable code, an HTTP status, a sentence with the fix.

PaydeskError
├── NotAuthenticated 401      ├── InsufficientCredits 402 (PAY001)
├── NotPermitted 403          ├── PaymentFailed 402 (PAY002)
├── NotFound 404              ├── InvalidPromoCode 422 (PAY003)
├── InvalidRequest 422        ├── InvalidSignature 400 (PAY005)
├── Conflict 409 (PAY004)     ├── CreditLimitExceeded 422 (PAY006)
├── RateLimited 429           ├── TransferNotAllowed 403 (PAY007)
└── Unavailable 503           └── …
"""

from __future__ import annotations

from typing import Any, ClassVar


class PaydeskError(Exception):
    """An expected refusal. `code` is stable; `extra` holds members shown beside it."""

    code: ClassVar[str] = "error"
    http_status: ClassVar[int] = 400
    title: ClassVar[str] = "The request was refused"
    legacy_code: ClassVar[str | None] = None

    def __init__(self, detail: str = "", *, param: str | None = None, **extra: Any) -> None:
        super().__init__(detail or self.title)
        self.detail = detail or self.title
        self.param = param
        self.extra = extra

    def __getattr__(self, name: str) -> Any:
        extra = self.__dict__.get("extra", {})
        if name in extra:
            return extra[name]
        raise AttributeError(f"{type(self).__name__} has no attribute {name!r}")

    def to_problem(self) -> dict[str, Any]:
        """RFC 9457 members, without `request_id`, which the edge adds."""
        body: dict[str, Any] = {
            "type": f"/docs/errors/{self.code}",
            "title": self.title,
            "status": self.http_status,
            "detail": self.detail,
            "code": self.code,
        }
        if self.legacy_code:
            body["legacy_code"] = self.legacy_code
        if self.param:
            body["param"] = self.param
        return {**body, **self.extra}


class InvalidRequest(PaydeskError):
    """Wrong shape, type or range somewhere in the request. `errors` points at each place."""

    code = "invalid_request"
    http_status = 422
    title = "The request is not valid"


class MalformedRequest(PaydeskError):
    """The body is no JSON object that can be read."""

    code = "malformed_request"
    http_status = 400
    title = "The request cannot be read"


class BodyTooLarge(PaydeskError):
    """More bytes than `PAYDESK_MAX_BODY_BYTES`; nothing was read further."""

    code = "body_too_large"
    http_status = 413
    title = "The request body is too large"


class RequestTimeout(PaydeskError):
    """The body did not come whole within the time that a body has."""

    code = "request_timeout"
    http_status = 408
    title = "The request took too long to arrive"


class UnsupportedMediaType(PaydeskError):
    """Bodies are `application/json` in UTF-8."""

    code = "unsupported_media_type"
    http_status = 415
    title = "The request body is of a kind that is not read here"


class CardNumberRefused(InvalidRequest):
    """A text holds what looks like a card number; it was neither stored nor logged."""

    code = "card_number_refused"
    title = "Card numbers are not accepted here"


class MisdirectedRequest(PaydeskError):
    """The Host header names a service that this is not."""

    code = "misdirected_request"
    http_status = 421
    title = "This host name is not served here"


class NotAuthenticated(PaydeskError):
    """Send `Authorization: Bearer` with an API key or a token that has not expired."""

    code = "not_authenticated"
    http_status = 401
    title = "Credentials are missing or not valid"


class NotPermitted(PaydeskError):
    """The route takes other roles; the OpenAPI document's `x-access` names them."""

    code = "not_permitted"
    http_status = 403
    title = "These credentials may not do this"


class NotFound(PaydeskError):
    """Absent, or another customer's: both answer alike."""

    code = "not_found"
    http_status = 404
    title = "No such object"


class MethodNotAllowed(PaydeskError):
    """The `Allow` header names the methods it takes."""

    code = "method_not_allowed"
    http_status = 405
    title = "This address does not take that method"


class Conflict(PaydeskError):
    """Read the object again: its state has moved on."""

    code = "conflict"
    http_status = 409
    title = "The object is not in a state that allows this"


class PaymentInFlight(Conflict):
    """One payment at a time may be under way for a thing that is bought once."""

    code = "payment_in_flight"
    title = "A payment for this is already under way"


class ChangeWasPaid(Conflict):
    """The customer confirmed it in the same moment: change the subscription back, if that is
    wanted, which gives back what is unused."""

    code = "change_was_paid"
    title = "The change was paid before it could be taken back"


class IdempotencyInProgress(Conflict):
    """Wait a second and repeat the same request; it will be answered or resumed."""

    code = "idempotency_in_progress"
    title = "A request with this Idempotency-Key is still running"


class IdempotencyKeyReused(PaydeskError):
    """A key stands for one request for ever. Use a new key for another body."""

    code = "idempotency_key_reused"
    http_status = 422
    title = "This Idempotency-Key was used with another request"


class IdempotencyKeyMissing(PaydeskError):
    """`PAYDESK_REQUIRE_IDEMPOTENCY` is on: send a key of your own with each request."""

    code = "idempotency_key_missing"
    http_status = 400
    title = "This request needs an Idempotency-Key header"


class InvalidIdempotencyKey(PaydeskError):
    """A text of 1 to 255 printable characters, quoted or bare."""

    code = "invalid_idempotency_key"
    http_status = 400
    title = "The Idempotency-Key header is not valid"


class RateLimited(PaydeskError):
    """Wait as long as `Retry-After` says; the `RateLimit` field tells what is left."""

    code = "rate_limited"
    http_status = 429
    title = "Too many requests"


class Unavailable(PaydeskError):
    """Nothing happened; try again after `retry_after_s`."""

    code = "unavailable"
    http_status = 503
    title = "The service cannot take this right now"


class Busy(Unavailable):
    """Repeat with the same key after `retry_after_s`."""

    code = "busy"
    title = "This customer's account is busy; nothing happened"


class OutcomeUnknown(Unavailable):
    """Repeat with the same key: what happened is found out, and nothing is done twice."""

    code = "outcome_unknown"
    title = "The outcome is not known yet; repeat with the same key"


class ProviderUnavailable(PaydeskError):
    """The payment provider did not answer in time; a sweep settles what is open."""

    code = "provider_unavailable"
    http_status = 503
    title = "The payment provider does not answer"


class ProviderRefused(PaydeskError):
    """Nothing was charged. The detail carries the provider's own sentence."""

    code = "provider_refused"
    http_status = 402
    title = "The payment provider refused the request"


class NotSupported(PaydeskError):
    """`can` of the provider names what it does."""

    code = "not_supported"
    http_status = 422
    title = "That cannot be done here"


class InsufficientCredits(PaydeskError):
    """`balance` and `needed` are whole credits."""

    code = "insufficient_credits"
    http_status = 402
    title = "Not enough credits"
    legacy_code = "PAY001"


class PaymentFailed(PaydeskError):
    """The provider declined it; the customer may try another card."""

    code = "payment_failed"
    http_status = 402
    title = "The payment failed"
    legacy_code = "PAY002"


class InvalidPromoCode(PaydeskError):
    """`reason` says which rule was not met."""

    code = "invalid_promo_code"
    http_status = 422
    title = "This promo code cannot be used"
    legacy_code = "PAY003"


class InvalidSignature(PaydeskError):
    """Check STRIPE_WEBHOOK_SECRET and the clock; nothing was stored."""

    code = "webhook_signature_invalid"
    http_status = 400
    title = "The webhook's signature is not valid"
    legacy_code = "PAY005"


class CreditLimitExceeded(PaydeskError):
    """`limit` and `balance` are whole credits."""

    code = "credit_limit_exceeded"
    http_status = 422
    title = "This would exceed the highest credit balance"
    legacy_code = "PAY006"


class TransferNotAllowed(PaydeskError):
    """`CREDIT_TRANSFER_POLICY` and `WALLET_TRANSFER_POLICY` decide who may; promotional credits
    stay with their owner."""

    code = "transfer_not_allowed"
    http_status = 403
    title = "Nothing can be moved between these customers"
    legacy_code = "PAY007"


class AmountTooLarge(PaydeskError):
    """`MAX_TRANSACTION_AMOUNT` is the limit, in major units or credits."""

    code = "amount_too_large"
    http_status = 422
    title = "The amount is above the limit for one transaction"


class AmountTooSmall(PaydeskError):
    """`MIN_CREDIT_PURCHASE`, or the least that the provider charges in this currency."""

    code = "amount_too_small"
    http_status = 422
    title = "The amount is below the least that can be bought"


class AmountNotChargeable(InvalidRequest):
    """Cards charge this currency in steps of `step` minor units: KWD in tens, so 9.990 or 10.000
    and never 9.995. Round the amount."""

    code = "amount_not_chargeable"
    title = "The amount cannot be charged exactly"


class TransactionLimit(PaydeskError):
    """`MAX_DAILY_TRANSACTIONS` counts purchases, spends and transfers of a UTC day."""

    code = "transaction_limit"
    http_status = 429
    title = "This customer has reached the day's number of transactions"


class AmountMismatch(PaydeskError):
    """What the provider says was paid is not what was asked; the money is recorded, goods wait."""

    code = "amount_mismatch"
    http_status = 409
    title = "The amount paid differs from the amount asked"


class CheckoutExpired(Conflict):
    """Open a new checkout; a promo code that was on it is free again."""

    code = "checkout_expired"
    title = "This checkout has expired"


class InvalidTransition(Conflict):
    """A subscription cannot go from its `state` by that `event`."""

    code = "invalid_transition"
    title = "The subscription's state does not allow this"


class SpendNotRefundable(Conflict):
    """More than the spend's remainder was asked back. `refundable` is in whole credits."""

    code = "spend_not_refundable"
    title = "This spend cannot be refunded by that much"


class PaymentMethodNotUsable(Conflict):
    """The saved method was removed, has expired, or is another provider's."""

    code = "payment_method_not_usable"
    title = "This payment method cannot be used"


class AlreadyPurchased(Conflict):
    """What is bought once is owned already; `purchase` names it."""

    code = "already_purchased"
    title = "This was bought before"


class SubscriptionAlreadyActive(Conflict):
    """The customer has a running subscription of this family; `subscription` names it."""

    code = "subscription_already_active"
    title = "A subscription is active already"
    legacy_code = "PAY004"


class PreviewOutdated(Conflict):
    """What a change would cost is no longer what the preview said; preview it anew."""

    code = "preview_outdated"
    title = "The figures have changed"


class AccessRequired(PaydeskError):
    """`resource` is what was asked for; `reason` is as `can` has it, such as not_purchased;
    `offer_url` leads to what gives access, where something on sale does."""

    code = "access_required"
    http_status = 402
    title = "This needs to be bought first"


class RefundWindowClosed(Conflict):
    """`window_ended_at` says when. An administrator may force the refund; it is recorded."""

    code = "refund_window_closed"
    title = "The time in which this payment can be refunded has ended"


class NotRefundable(Conflict):
    """`refundable` is what is left, in the currency's minor unit."""

    code = "not_refundable"
    title = "This payment cannot be refunded by that much"


class AlreadyCredited(NotRefundable):
    """`refundable` is what is left, in the currency's minor unit; a credit note gave the rest to
    the customer's balance."""

    code = "already_credited"
    title = "A credit note has given this back to the customer's balance"


class ApprovalRequired(Conflict):
    """Somebody else than who asked for it decides."""

    code = "approval_required"
    title = "This needs the approval of another person"


class GoodsUsed(Conflict):
    """`CLAWBACK_POLICY` is `block`: `missing` of the goods are used up already."""

    code = "goods_used"
    title = "What was paid for is used up in part and cannot be taken back"


class InsufficientFunds(PaydeskError):
    """`balance` and `needed` are in the currency's minor unit."""

    code = "insufficient_funds"
    http_status = 402
    title = "Not enough money in this wallet"


class WalletFrozen(Conflict):
    """Somebody of the staff froze or closed it."""

    code = "wallet_frozen"
    title = "This wallet takes no transactions"


class NoRate(PaydeskError):
    """Import a file of rates or enter one; `base` and `quote` name the pair."""

    code = "no_rate"
    http_status = 422
    title = "No exchange rate is known for these currencies"


class HoldClosed(Conflict):
    """A hold ends once: captured, released or expired."""

    code = "hold_closed"
    title = "This hold has ended"


class DisputeClosed(Conflict):
    """`due_at` has passed, or the bank has decided."""

    code = "dispute_closed"
    title = "This dispute takes no more evidence"


class UseConfirm(Conflict):
    """Money is recorded when the provider, or for cash a person, confirms it."""

    code = "use_confirm"
    title = "A payment is completed by confirming it"


class UseRefund(Conflict):
    """Make a refund: it gives the money back and takes the goods back."""

    code = "use_refund"
    title = "A payment is refunded by making a refund"


class RiskBlocked(PaydeskError):
    """The reasons are shown to staff only."""

    code = "risk_blocked"
    http_status = 403
    title = "This payment cannot be accepted"


class CustomerRefused(PaydeskError):
    """The application's `user_validator` does not know this customer."""

    code = "customer_refused"
    http_status = 403
    title = "The application refuses this customer"


class AddressRefused(InvalidRequest):
    """Only public https addresses are called."""

    code = "address_refused"
    title = "This address cannot be called"


class Misconfigured(PaydeskError):
    """The detail names the setting and where its value came from."""

    code = "misconfigured"
    http_status = 500
    title = "A setting is missing or not valid"


class InternalError(PaydeskError):
    """Nothing about its cause is told outside; the log has it under `request_id`."""

    code = "internal_error"
    http_status = 500
    title = "A fault on our side; it was logged under the request id"


def all_errors() -> dict[str, type[PaydeskError]]:
    """Every error class by its code, for the docs, `paydesk explain` and tests."""
    found: dict[str, type[PaydeskError]] = {}
    todo: list[type[PaydeskError]] = [PaydeskError]
    while todo:
        kind = todo.pop()
        todo.extend(kind.__subclasses__())
        if kind is not PaydeskError:
            found.setdefault(kind.code, kind)
    return dict(sorted(found.items()))
