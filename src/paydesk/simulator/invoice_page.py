"""The hosted page of an invoice, with its button to pay, and its PDF."""

from __future__ import annotations

from typing import Any

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from . import api, cards, forms, invoice_pdf
from .engine import Call
from .errors import StripeError
from .objects import invoicing, payment_methods, test_clocks
from .pages import HEADERS, MAX_FORM, Outcome, Pages

TITLES = {
    "paid": "This invoice is paid", "void": "This invoice was voided",
    "uncollectible": "This invoice is still to be paid", "open": "This invoice is to be paid",
}


class InvoicePages:
    """`/i/{invoice}` and `/i/{invoice}/pdf`."""

    def __init__(self, pages: Pages) -> None:
        self.pages = pages

    async def page(self, request: Request) -> Response:
        """The invoice, and what paying it leads to."""
        invoice_id, problem = request.path_params["invoice"], None
        if request.method == "POST":
            try:
                given = forms.parse(await api.read_body(request, MAX_FORM))
            except StripeError:
                given = {}
            number = str(given.get("number", ""))
            found = await self.pages.do(request, lambda call: _pay(call, invoice_id, number))
            if found.error is not None:
                problem = str(found.error)
            elif found.intent is not None and found.intent["status"] == "requires_action":
                return RedirectResponse(f"/3d_secure/{found.intent['id']}", 303, headers=HEADERS)
            elif found.invoice is not None:
                return RedirectResponse(f"/i/{invoice_id}", 303, headers=HEADERS)
        else:
            found = await self.pages.do(request, lambda call: _look(call, invoice_id))
        if found.invoice is None:
            return self.pages.page("message.html", 404, title="There is no such invoice",
                                   text="The link is not complete, or the sandbox was reset.")
        invoice = found.invoice
        return self.pages.page(
            "invoice.html", 402 if problem else 200, invoice=invoice, problem=problem,
            title=TITLES[invoice["status"]], offered=[cards.CARDS[one] for one in cards.OFFERED],
            payable=invoice["status"] in ("open", "uncollectible"),
        )

    async def pdf(self, request: Request) -> Response:
        invoice_id = request.path_params["invoice"]
        found = await self.pages.do(request, lambda call: _look(call, invoice_id))
        if found.invoice is None:
            return Response("There is no such invoice.", 404, media_type="text/plain")
        name = f"Invoice-{found.invoice['number']}.pdf"
        shown = {**HEADERS, "Content-Disposition": f'inline; filename="{name}"'}
        return Response(
            invoice_pdf.render(found.invoice), headers=shown, media_type="application/pdf"
        )


def _look(call: Call, invoice_id: str) -> Outcome:
    invoice = call.tx.get(invoice_id, "invoice")
    if invoice is None or invoice["status"] == "draft":
        return Outcome()
    return Outcome(invoice=invoice, intent=call.tx.get(invoice["_intent"] or ""))


def _pay(call: Call, invoice_id: str, number: str) -> Outcome:
    """Charge the invoice to a test card; a second click finds it paid and pays nothing."""
    found, error = _look(call, invoice_id), None
    if found.invoice is not None and found.invoice["status"] in ("open", "uncollectible"):
        try:
            pay(call, found.invoice, cards.by_number(number))
        except StripeError as declined:
            error = declined
    found = _look(call, invoice_id)
    found.error = error
    return found


def pay(call: Call, invoice: dict[str, Any], card: cards.TestCard) -> dict[str, Any]:
    """What the page does: a new card, charged while its owner looks on."""
    with test_clocks.time_of(call, invoice):
        method = payment_methods.make(call, card)
        return invoicing.attempt(call, invoice, method, off_session=False)
