"""Stripe's published test cards: what each number and token does. No other number is ever taken."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from .errors import StripeError


@dataclass(frozen=True)
class TestCard:
    """One published test card.

    `decline` is a key of DECLINES, met when the card is charged; `three_d_secure` is "required"
    (always), "unless_set_up" (not for off-session use of a saved card), "on_session" (never
    off-session) or "optional". `dispute` is what its owner brings against each payment.
    """

    __test__ = False

    number: str
    name: str
    brand: str = "visa"
    funding: str = "credit"
    country: str = "US"
    decline: str | None = None
    three_d_secure: str | None = None
    refund: str = "succeeded"
    dispute: str | None = None
    risk: str = "normal"
    label: str = ""

    @property
    def last4(self) -> str:
        return self.number[-4:]

    @property
    def saving_decline(self) -> str | None:
        """Why the bank refuses to have the card saved: a key of DECLINES, None where it does not.

        Some cards can be saved and are declined when charged; risk is looked at in payments alone.
        """
        late = self.decline == "fraudulent" or self.name in SAVED_THEN_DECLINED
        return None if late else self.decline

    @property
    def fingerprint(self) -> str:
        return hashlib.sha256(b"test card " + self.number.encode()).hexdigest()[:16]

    @property
    def grouped(self) -> str:
        """The number as printed on a card."""
        if self.brand == "amex":
            return f"{self.number[:4]} {self.number[4:10]} {self.number[10:]}"
        return " ".join(self.number[i : i + 4] for i in range(0, len(self.number), 4))


#: Cards that can be saved though every payment with them is declined.
SAVED_THEN_DECLINED = (
    "chargeCustomerFail", "authenticationRequiredChargeDeclinedInsufficientFunds",
)
#: Endings of a token or method name that put the card into a wallet: `pm_card_visa_applePay`.
WALLETS = {"_applePay": "apple_pay", "_googlePay": "google_pay"}


@dataclass(frozen=True)
class Decline:
    """What Stripe says when the bank or Radar says no."""

    code: str
    decline_code: str | None
    message: str
    advice: str | None = None
    network_advice: str | None = None


DECLINES = {
    "generic_decline": Decline(
        "card_declined", "generic_decline", "Your card was declined.", "try_again_later"
    ),
    "insufficient_funds": Decline(
        "card_declined", "insufficient_funds", "Your card has insufficient funds.",
        "try_again_later",
    ),
    "lost_card": Decline(
        "card_declined", "lost_card", "Your card was declined.", "do_not_try_again"
    ),
    "stolen_card": Decline(
        "card_declined", "stolen_card", "Your card was declined.", "do_not_try_again"
    ),
    "expired_card": Decline(
        "expired_card", "expired_card", "Your card has expired.", "do_not_try_again"
    ),
    "incorrect_cvc": Decline(
        "incorrect_cvc", "incorrect_cvc", "Your card's security code is incorrect.",
        "confirm_card_data",
    ),
    "processing_error": Decline(
        "processing_error", "processing_error",
        "An error occurred while processing your card. Try again in a little bit.",
        "try_again_later",
    ),
    "card_velocity_exceeded": Decline(
        "card_declined", "card_velocity_exceeded",
        "Your card was declined for making repeated attempts too frequently or exceeding its "
        "amount limit.", "try_again_later",
    ),
    "fraudulent": Decline("card_declined", "fraudulent", "Your card was declined."),
    "authentication_required": Decline(
        "authentication_required", "authentication_required",
        "Your card was declined. This transaction requires authentication.", "try_again_later",
    ),
}

_DECLINED = [
    ("4000000000000002", "visa_chargeDeclined", "generic_decline", "declined"),
    ("4000000000009995", "visa_chargeDeclinedInsufficientFunds", "insufficient_funds",
     "insufficient funds"),
    ("4000000000009987", "visa_chargeDeclinedLostCard", "lost_card", "lost card"),
    ("4000000000009979", "visa_chargeDeclinedStolenCard", "stolen_card", "stolen card"),
    ("4000000000000069", "chargeDeclinedExpiredCard", "expired_card", "expired card"),
    ("4000000000000127", "chargeDeclinedIncorrectCvc", "incorrect_cvc", "incorrect CVC"),
    ("4000000000000119", "chargeDeclinedProcessingError", "processing_error", "processing error"),
    ("4000000000006975", "visa_chargeDeclinedVelocityLimitExceeded", "card_velocity_exceeded",
     "velocity limit"),
    ("4000000000000341", "chargeCustomerFail", "generic_decline", "declined once saved"),
]
_SUCCEEDING = [
    ("4242424242424242", "visa", "visa", "credit", "US"),
    ("4000056655665556", "visa_debit", "visa", "debit", "US"),
    ("5555555555554444", "mastercard", "mastercard", "credit", "US"),
    ("5200828282828210", "mastercard_debit", "mastercard", "debit", "US"),
    ("5105105105105100", "mastercard_prepaid", "mastercard", "prepaid", "US"),
    ("2223003122003222", "mastercard_2_series", "mastercard", "credit", "US"),
    ("378282246310005", "amex", "amex", "credit", "US"),
    ("371449635398431", "amex_2", "amex", "credit", "US"),
    ("6011111111111117", "discover", "discover", "credit", "US"),
    ("6011981111111113", "discover_debit", "discover", "debit", "US"),
    ("3056930009020004", "diners", "diners", "credit", "US"),
    ("36227206271667", "diners_14digits", "diners", "credit", "US"),
    ("3566002020360505", "jcb", "jcb", "credit", "JP"),
    ("6200000000000005", "unionpay", "unionpay", "credit", "CN"),
    ("6200000000000047", "unionpay_debit", "unionpay", "debit", "CN"),
    ("4000000760000002", "br", "visa", "credit", "BR"),
    ("4000001240000000", "ca", "visa", "credit", "CA"),
    ("4000002760000016", "de", "visa", "credit", "DE"),
    ("4000002500000003", "fr", "visa", "credit", "FR"),
    ("4000008260000000", "gb", "visa", "credit", "GB"),
    ("4000000360000006", "au", "visa", "credit", "AU"),
    ("4000003920000003", "jp", "visa", "credit", "JP"),
]
_SPECIAL = [
    TestCard("4000002500003155", "authenticationRequiredOnSetup", country="FR",
             three_d_secure="unless_set_up", label="3-D Secure unless set up"),
    TestCard("4000003800000446", "authenticationRequiredSetupForOffSession", country="IE",
             three_d_secure="on_session", label="3-D Secure, but not off-session"),
    TestCard("4000002760003184", "authenticationRequired", country="DE",
             three_d_secure="required", label="3-D Secure required"),
    TestCard("4000000000003220", "threeDSecure2Required", three_d_secure="required",
             label="3-D Secure 2 required"),
    TestCard("4000000000003063", "threeDSecureRequired", three_d_secure="required",
             label="3-D Secure required"),
    TestCard("4000000000003055", "threeDSecureOptional", three_d_secure="optional",
             label="3-D Secure optional"),
    TestCard("4000008400001629", "threeDSecureRequiredChargeDeclined",
             decline="generic_decline", three_d_secure="required",
             label="3-D Secure, then declined"),
    TestCard("4000008260003178", "authenticationRequiredChargeDeclinedInsufficientFunds",
             country="GB", decline="insufficient_funds", three_d_secure="required",
             label="3-D Secure, then insufficient funds"),
    TestCard("4100000000000019", "radarBlock", decline="fraudulent", risk="highest",
             label="blocked as fraudulent"),
    TestCard("4000000000004954", "riskLevelHighest", risk="highest", decline="fraudulent",
             label="highest risk, blocked"),
    TestCard("4000000000009235", "riskLevelElevated", risk="elevated", label="elevated risk"),
    TestCard("4000000000000077", "bypassPending", label="funds available at once"),
    TestCard("4000000000007726", "pendingRefund", refund="pending", label="refunds stay pending"),
    TestCard("4000000000005126", "refundFail", refund="failed", label="refunds fail later"),
    TestCard("4000000000000259", "createDispute", dispute="fraudulent",
             label="paid, then disputed as fraudulent"),
    TestCard("4000000000002685", "createDisputeProductNotReceived",
             dispute="product_not_received", label="paid, then disputed as not received"),
    TestCard("4000000000001976", "createDisputeInquiry", dispute="inquiry",
             label="paid, then the bank inquires"),
]

CARDS: dict[str, TestCard] = {
    card.number: card
    for card in (
        *(TestCard(n, name, brand, funding, country, label="succeeds")
          for n, name, brand, funding, country in _SUCCEEDING),
        *_SPECIAL,
        *(TestCard(n, name, decline=why, label=label) for n, name, why, label in _DECLINED),
    )
}
_BY_NAME = {card.name: card for card in CARDS.values()} | {"us": CARDS["4242424242424242"]}
#: Names Stripe gives to a token though the card's own name has a prefix more.
_ALIASES = {
    name.removeprefix("visa_"): card for name, card in _BY_NAME.items()
    if name.startswith("visa_chargeDeclined")
}
#: The cards the hosted page offers in its list.
OFFERED = [
    "4242424242424242", "5555555555554444", "378282246310005", "4000002760003184",
    "4000000000000002", "4000000000009995", "4000000000000069", "4000000000000127",
    "4000000000000119", "4000008400001629",
]


def by_number(typed: str) -> TestCard:
    """The test card with this number, spaces and dashes aside.

    Raises a card error that names no digit of what was typed.
    """
    digits = typed.replace(" ", "").replace("-", "")
    card = CARDS.get(digits)
    if card is not None:
        return card
    if not (digits.isascii() and digits.isdigit() and 12 <= len(digits) <= 19):
        raise StripeError(
            "Your card number is incomplete or not a number.",
            status=402, type="card_error", code="invalid_number", param="number",
        )
    if not _passes_luhn(digits):
        raise StripeError(
            "Your card number is incorrect.",
            status=402, type="card_error", code="incorrect_number", param="number",
        )
    raise StripeError(
        "Your card was declined. This is a sandbox: only Stripe's published test cards work "
        "here, and the number you typed was not stored.",
        status=402, type="card_error", code="card_declined", decline_code="test_mode_live_card",
    )


def wallet_of(token: str) -> str | None:
    """The wallet a token's name asks for: apple_pay, google_pay or None."""
    return next((wallet for ending, wallet in WALLETS.items() if token.endswith(ending)), None)


def by_token(token: str) -> TestCard | None:
    """The test card behind `tok_visa`, `pm_card_visa`, `pm_card_visa_applePay` and the like."""
    for ending in WALLETS:
        token = token.removesuffix(ending)
    for prefix in ("pm_card_", "tok_"):
        if token.startswith(prefix):
            name = token.removeprefix(prefix)
            return _BY_NAME.get(name) or _ALIASES.get(name)
    return None


def _passes_luhn(digits: str) -> bool:
    total = 0
    for place, digit in enumerate(reversed(digits)):
        value = int(digit) * (1 + place % 2)
        total += value - 9 if value > 9 else value
    return total % 10 == 0
