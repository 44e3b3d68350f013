"""The hosted invoice in a browser: readable, inside the screen, paid without any script."""

from __future__ import annotations

import uuid
from typing import Any

from browsing import examined
from desk_process import Desk, eventually


def invoice(desk: Desk, locale: str = "fr") -> dict[str, Any]:
    """An open invoice of somebody new, with long words and many lines."""
    who = f"reader_{uuid.uuid4().hex[:8]}"
    desk.api("POST", "/v1/customers", {
        "external_id": who, "email": f"{who}@a-rather-long-name.northwind.example",
        "name": "Marie-Josèphe Desrosiers-Saint-Fleur",
        "metadata": {"locale": locale, "country": "HT", "tax_id": "HT-003-112-998-1",
                     "address": "4 Rue Lamarre; Pétion-Ville"},
    })  # fmt: skip
    items = [{"description": "Atelier de formation, deux jours", "amount": 100_000, "quantity": 2},
             {"description": "Remise de fidélité", "amount": -5_000}]  # fmt: skip
    return desk.api("POST", "/v1/invoices", {
        "customer": who, "currency": "usd", "items": items, "days": 14,
        "memo": "Merci de votre confiance.\nPaiement sous 14 jours.",
    })  # fmt: skip


def test_an_invoice_is_accessible_and_fits_the_screen(desk, visit):  # S1.50
    page = visit()
    page.goto(invoice(desk)["hosted_url"])
    assert page.locator("html").get_attribute("lang") == "fr"
    assert examined(page, "invoice-fr") == []


def test_an_invoice_is_paid_without_scripts_and_shows_its_receipt_then(desk, visit):  # S1.50
    page = visit(js=False, size="phone")
    one = invoice(desk)
    page.goto(one["hosted_url"])
    page.get_by_text("Détails de la facture").click()
    assert page.get_by_text("Remise de fidélité").is_visible()
    page.get_by_role("link", name="English").click()
    page.get_by_role("button", name="Pay $950.00").click()
    page.wait_for_url("**/checkout/**")
    assert f"Invoice {one['number']}" in page.content()
    made = desk.api("POST", f"/v1/invoices/{one['id']}/checkout", {})
    from paydesk.simulator.cli import pay

    pay(made["payment"]["provider_session_id"], "4242424242424242", desk.simulator)
    eventually(lambda: desk.api("GET", f"/v1/invoices/{one['id']}")["status"] == "paid")
    page.goto(one["hosted_url"])
    assert page.get_by_text("Visa •••• 4242").is_visible()
    assert page.get_by_text("Cette facture est payée. Merci.").is_visible()
    assert page.get_by_role("link", name="Télécharger le reçu").is_visible()
    assert page.get_by_role("button").count() == 0
