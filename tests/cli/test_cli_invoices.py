"""Commands about invoices and credit notes."""

from __future__ import annotations

import json

import pytest

from paydesk import USD, Paydesk


@pytest.fixture
def run(paydesk):
    def do(*arguments: str):
        code, out, err = paydesk(*arguments)
        return code, [json.loads(line) for line in out.splitlines() if line.startswith("{")], err

    return do


def test_invoices_are_shown_printed_credited_and_voided(run, tmp_path):
    with Paydesk() as pay:
        first = pay.invoices.create("maya", [("Onboarding", USD("50.00"))])
        other = pay.invoices.create("maya", [("Support", USD("5.00"))])
    code, found, _ = run("invoices", "list", "--customer", "maya", "--status", "open")
    assert code == 0 and {one["number"] for one in found} == {"INV-000001", "INV-000002"}
    code, found, _ = run("invoices", "show", first.id)
    assert (code, found[0]["lines"][0]["description"]) == (0, "Onboarding")
    to = tmp_path / "one.pdf"
    assert run("invoices", "pdf", first.id, "--to", str(to))[0] == 0
    assert to.read_bytes().startswith(b"%PDF")
    code, found, _ = run("invoices", "credit", first.id, "20.00", "--yes", "--key", "k")
    assert (code, found[0]["number"]) == (0, "CN-000001")
    line = run("invoices", "show", first.id)[1][0]["lines"][0]["id"]
    code, told, _ = run("invoices", "credit", first.id, "5.00", "--line", line, "--yes")
    assert (code, told[0]["amount"]) == (0, 500)
    assert run("invoices", "credit", other.id, "--line", line, "--yes")[0] == 1
    note = tmp_path / "note.pdf"
    assert run("invoices", "pdf", found[0]["id"], "--to", str(note))[0] == 0
    assert run("invoices", "pay", first.id)[0] != 0  # There is nothing to charge.
    assert run("invoices", "give-up", first.id)[1][0]["status"] == "uncollectible"
    assert run("invoices", "void", other.id)[1][0]["status"] == "void"


def test_a_line_is_given_back_with_its_taxes(run):  # S1.51 I13
    with Paydesk() as pay:
        pay.tax_rates.add("VAT", "20", country="")
        made = pay.invoices.create("nora", [("Fitting", USD("7.00")), ("Travel", USD("3.00"))])
    line = made.items[1].id
    code, told, _ = run("invoices", "credit", made.id, "--line", line, "--yes")
    assert (code, told[0]["amount"]) == (0, 360)


def test_an_invoice_is_read_with_its_lines_as_a_table(paydesk):  # S1.50
    with Paydesk() as pay:
        made = pay.invoices.create("maya", [("Onboarding", USD("50.00")), ("Goodwill", USD(-5))])
    code, out, _ = paydesk("invoices", "show", made.id, "-o", "table")
    lines = out.partition("\nlines\n")[2].splitlines()
    assert code == 0 and lines[0].split()[-2:] == ["DESCRIPTION", "AMOUNT"]
    assert [line.split()[-3:] for line in lines[1:3]] == [
        ["Onboarding", "USD", "50.00"], ["Goodwill", "USD", "-5.00"],
    ]  # fmt: skip
    assert "{" not in out
