"""The objects of the simulator, a file for each family; importing this registers their calls."""

from . import (
    balance,
    catalog,
    charges,
    checkout,
    customers,
    disputes,
    events,
    files,
    payment_intents,
    payment_methods,
    payouts,
    refunds,
    setup_intents,
    webhook_endpoints,
)

__all__ = [
    "balance",
    "catalog",
    "charges",
    "checkout",
    "customers",
    "disputes",
    "events",
    "files",
    "payment_intents",
    "payment_methods",
    "payouts",
    "refunds",
    "setup_intents",
    "webhook_endpoints",
]
