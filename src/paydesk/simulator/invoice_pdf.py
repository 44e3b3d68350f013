"""The PDF of an invoice: plain lines of text, enough to be opened, stored and read."""

from __future__ import annotations

from typing import Any

from . import money, periods

ROWS_A_PAGE = 44
LEFT, TOP, LEADING, SIZE = 56, 780, 16, 10
WIDTH = 78


def rows(invoice: dict[str, Any]) -> list[str]:
    """What the PDF says, a row each."""
    currency = invoice["currency"]

    def sum_row(words: str, amount: int) -> str:
        figure = money.shown(amount, currency)
        return f"{words}{figure:>{max(WIDTH - len(words), len(figure) + 1)}}"

    period = f"{periods.date(invoice['period_start'])} to {periods.date(invoice['period_end'])}"
    found = [
        f"{invoice['account_name']}: invoice {invoice['number']}",
        f"Date {periods.date(invoice['created'])}, status {invoice['status']}",
        f"To {invoice['customer_name'] or ''} {invoice['customer_email'] or ''}".rstrip(),
        f"Period {period}", "",
    ]
    for line in invoice["_lines"]:
        text = str(line["description"] or "Item")[: WIDTH - 16]
        found.append(sum_row(text, line["amount"]))
    found += [
        "", sum_row("Total", invoice["total"]), sum_row("Amount due", invoice["amount_due"]),
        sum_row("Amount paid", invoice["amount_paid"]), "", "Sandbox: no money moves here.",
    ]
    return found


def render(invoice: dict[str, Any]) -> bytes:
    """The file: one page for every ROWS_A_PAGE rows, in a font that every reader has."""
    text = rows(invoice)
    pages = [text[i : i + ROWS_A_PAGE] for i in range(0, len(text), ROWS_A_PAGE)]
    kids = " ".join(f"{4 + 2 * i} 0 R" for i in range(len(pages)))
    objects = [
        b"<< /Type /Catalog /Pages 2 0 R >>",
        f"<< /Type /Pages /Kids [{kids}] /Count {len(pages)} >>".encode(),
        b"<< /Type /Font /Subtype /Type1 /BaseFont /Courier /Encoding /WinAnsiEncoding >>",
    ]
    for i, page in enumerate(pages):
        drawn = _drawn(page)
        objects.append(
            b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 595 842] /Resources << /Font << /F1 3 0 R"
            b" >> >> /Contents %d 0 R >>" % (5 + 2 * i)
        )
        objects.append(b"<< /Length %d >>\nstream\n%s\nendstream" % (len(drawn), drawn))
    return _file(objects)


def _drawn(page: list[str]) -> bytes:
    shown = [b"BT /F1 %d Tf %d TL %d %d Td" % (SIZE, LEADING, LEFT, TOP)]
    for row in page:
        safe = row.replace("−", "-").encode("cp1252", "replace")
        for mark in (b"\\", b"(", b")"):
            safe = safe.replace(mark, b"\\" + mark)
        shown.append(b"(%s) Tj T*" % safe)
    return b"\n".join([*shown, b"ET"])


def _file(objects: list[bytes]) -> bytes:
    body, places = b"%PDF-1.4\n", []
    for number, one in enumerate(objects, 1):
        places.append(len(body))
        body += b"%d 0 obj\n%s\nendobj\n" % (number, one)
    entries = b"".join(b"%010d 00000 n \n" % place for place in places)
    count = len(objects) + 1
    return body + (
        b"xref\n0 %d\n0000000000 65535 f \n%s" % (count, entries)
        + b"trailer\n<< /Size %d /Root 1 0 R >>\nstartxref\n%d\n%%%%EOF\n" % (count, len(body))
    )
