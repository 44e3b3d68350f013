"""Stripe's error bodies: what a refused call answers with."""

from __future__ import annotations

from typing import Any

DOCS = "https://stripe.com/docs/error-codes/"


class StripeError(Exception):
    """A refusal with Stripe's status, type, code and words.

    `keep` says that what the call did before it failed stays (a declined charge is an object of
    its own); otherwise everything is rolled back.
    """

    def __init__(
        self,
        message: str,
        *,
        status: int = 400,
        type: str = "invalid_request_error",
        code: str | None = None,
        param: str | None = None,
        keep: bool = False,
        **more: Any,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.keep = keep
        self.fields: dict[str, Any] = {"message": message, "type": type}
        if code:
            self.fields |= {"code": code, "doc_url": DOCS + code.replace("_", "-")}
        if param:
            self.fields["param"] = param
        self.fields |= {name: value for name, value in more.items() if value is not None}

    @property
    def code(self) -> str | None:
        return self.fields.get("code")

    def body(self, request_id: str | None = None) -> dict[str, Any]:
        """The body as Stripe sends it, with the link to the request's log."""
        fields = dict(self.fields)
        if request_id:
            fields["request_log_url"] = f"https://dashboard.stripe.com/test/logs/{request_id}"
        return {"error": fields}


def missing_object(kind: str, wanted: str, param: str, status: int = 404) -> StripeError:
    """No object of this kind has this id: 404 for one named by the path, else 400."""
    shown = {"payment_method": "PaymentMethod", "setup_intent": "setupintent"}.get(kind, kind)
    return StripeError(
        f"No such {shown}: '{wanted[:100]}'", status=status, code="resource_missing", param=param
    )


def missing_param(param: str) -> StripeError:
    return StripeError(f"Missing required param: {param}.", code="parameter_missing", param=param)


def unknown_params(params: list[str]) -> StripeError:
    word = "parameter" if len(params) == 1 else "parameters"
    return StripeError(
        f"Received unknown {word}: {', '.join(params)}", code="parameter_unknown", param=params[0]
    )


def empty_param(param: str) -> StripeError:
    return StripeError(
        f"'{param}' is empty here. An empty value asks to unset a parameter, and this one cannot "
        "be unset: leave it out or give it a value.",
        code="parameter_invalid_empty",
        param=param,
    )


def not_simulated(what: str, param: str | None = None) -> StripeError:
    """An honest refusal: Stripe has this, the simulator does not."""
    return StripeError(f"The simulator does not have {what}.", param=param)


def unexpected_state(message: str, intent: dict[str, Any]) -> StripeError:
    """The call does not fit the state of this payment or setup intent, as the API shows it."""
    kind = intent["object"]
    return StripeError(message, code=f"{kind}_unexpected_state", **{kind: intent})
