"""Paydesk: the payment desk of an application. Names load on first use: parts stay light."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_HOMES = {
    "Paydesk": "paydesk.client",
    "AsyncPaydesk": "paydesk.client_async",
    "Settings": "paydesk.settings",
    "Money": "paydesk.rules.money",
    "USD": "paydesk.rules.money",
    "EUR": "paydesk.rules.money",
    "GBP": "paydesk.rules.money",
    "JPY": "paydesk.rules.money",
    "KWD": "paydesk.rules.money",
    "HTG": "paydesk.rules.money",
    "PaydeskError": "paydesk.errors",
    "InsufficientCredits": "paydesk.errors",
    "InsufficientFunds": "paydesk.errors",
    "PaymentFailed": "paydesk.errors",
    "InvalidPromoCode": "paydesk.errors",
    "CreditLimitExceeded": "paydesk.errors",
    "NotRefundable": "paydesk.errors",
    "RefundWindowClosed": "paydesk.errors",
}

if TYPE_CHECKING:
    from paydesk.client import Paydesk as Paydesk
    from paydesk.client_async import AsyncPaydesk as AsyncPaydesk
    from paydesk.errors import CreditLimitExceeded as CreditLimitExceeded
    from paydesk.errors import InsufficientCredits as InsufficientCredits
    from paydesk.errors import InsufficientFunds as InsufficientFunds
    from paydesk.errors import InvalidPromoCode as InvalidPromoCode
    from paydesk.errors import NotRefundable as NotRefundable
    from paydesk.errors import PaydeskError as PaydeskError
    from paydesk.errors import PaymentFailed as PaymentFailed
    from paydesk.errors import RefundWindowClosed as RefundWindowClosed
    from paydesk.rules.money import EUR as EUR
    from paydesk.rules.money import GBP as GBP
    from paydesk.rules.money import HTG as HTG
    from paydesk.rules.money import JPY as JPY
    from paydesk.rules.money import KWD as KWD
    from paydesk.rules.money import USD as USD
    from paydesk.rules.money import Money as Money
    from paydesk.settings import Settings as Settings

__all__ = ["__version__", *_HOMES]


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'paydesk' has no attribute {name!r}")
    value = getattr(importlib.import_module(home), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
