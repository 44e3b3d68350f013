"""Providers take the money. `load(settings)` gives those that are built in or installed."""

from __future__ import annotations

from paydesk.providers.base import (
    Charge,
    Order,
    OrderLine,
    Provider,
    ProviderEvent,
    Providers,
    RemoteCheckout,
    RemoteRefund,
    load,
    provider,
)

__all__ = [
    "Charge",
    "Order",
    "OrderLine",
    "Provider",
    "ProviderEvent",
    "Providers",
    "RemoteCheckout",
    "RemoteRefund",
    "load",
    "provider",
]
