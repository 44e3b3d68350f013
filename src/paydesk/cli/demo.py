"""The small catalogue of the sandbox: packs and codes to try with."""

from __future__ import annotations

from typing import TYPE_CHECKING

from paydesk.flows import catalog, promos
from paydesk.rules.money import EUR, USD

if TYPE_CHECKING:
    from paydesk.env import Env


def load(env: Env) -> None:
    """Make packs and codes that are not there yet; what somebody changed stays as it is."""
    known = {pack.key for pack in catalog.list_packs(env, include_inactive=True)}
    packs = [
        ("starter", "Starter Pack", 50, USD("4.99"), 180),
        ("creator", "Creator Pack", 150, USD("9.99"), 365),
        ("studio", "Studio Pack", 1_000, USD("49.00"), 365),
        ("atelier", "Atelier Pack", 500, EUR("24.50"), 365),
    ]
    for position, (key, name, credits, price, days) in enumerate(packs):
        if key not in known:
            catalog.upsert_pack(env, key, name=name, credits=credits, price=price,
                                expires_days=days, position=position)  # fmt: skip
    codes = {promo.code for promo in promos.list_promos(env, include_inactive=True)}
    if "WELCOME10" not in codes:
        promos.upsert_promo(env, "WELCOME10", percent_off=10)
    if "FIRST5" not in codes:
        promos.upsert_promo(env, "FIRST5", amount_off=USD("5.00"), first_purchase=True,
                            min_purchase=USD("20.00"))  # fmt: skip
    if "EXTRA25" not in codes:
        promos.upsert_promo(env, "EXTRA25", bonus_credits=25, packs=["studio"], per_customer=1)
