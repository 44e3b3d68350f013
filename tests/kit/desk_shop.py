"""A month of an invented shop: purchases of several people, paid on the simulator's own page."""

from __future__ import annotations

import random
from typing import Any

from desk_process import Desk, eventually

DECLINED = "4000000000000002"
PEOPLE = [
    ("user_123", "maya@northwind.example", "Maya Okafor"),
    ("lichtung-7", "jonas@lichtung.example", "Jonas Brandt"),
    ("aiko", "aiko@hoshi.example", "Aiko Hoshi"),
    ("atelier-fr", "lucas@atelier.example", "Lucas Moreau"),
    ("kite-in", "priya@kite.example", "Priya Nair"),
    ("verde", "diego@verde.example", "Diego Luna"),
]


def fill(desk: Desk, purchases: int = 12, seed: int = 7) -> dict[str, Any]:
    """Purchases, declines, spends and a waiting checkout; answers ids to look at."""
    rng = random.Random(seed)
    for external_id, email, name in PEOPLE:
        body = {"external_id": external_id, "email": email, "name": name}
        desk.api("POST", "/v1/customers", body)
    paid = []
    for number in range(purchases):
        external_id, email, _ = PEOPLE[number % len(PEOPLE)]
        card = DECLINED if number % 22 in (4, 9) else "4242424242424242"
        more = {"promo": "WELCOME10"} if number % 3 == 0 else {}
        pack = rng.choice(["starter", "creator", "creator", "studio"])
        made = desk.buy(external_id, pack, card, email=email, **more)
        if card != DECLINED:
            paid.append(made)
    for made in paid:
        eventually(lambda made=made: credited(desk, made["id"]), what=f"{made['id']} not credited")
    desk.api("POST", "/v1/credits/grant", {"customer": "user_123", "credits": 40})
    for number in range(4):
        body = {"customer": "user_123", "credits": 7 + number, "reference": f"render-{number}"}
        desk.api("POST", "/v1/credits/spend", body)
    waiting = desk.api("POST", "/v1/checkouts", {
        "customer": "user_123", "pack": "creator", "promo": "WELCOME10",
        "email": PEOPLE[0][1], "success_url": "https://app.example.com/thanks",
        "cancel_url": "https://app.example.com/pricing",
    })  # fmt: skip
    return {"paid": paid[0], "waiting": waiting, "customer": paid[0]["customer"]}


def credited(desk: Desk, checkout: str) -> bool:
    return desk.api("GET", f"/v1/checkouts/{checkout}")["payment"]["credits_added"]
