"""What the doctor proves of invoices: their lines, their books, the balances, and the numbers."""

from __future__ import annotations

from typing import LiteralString

#: (name, promise, table, query for culprits).
CHECKS: tuple[tuple[str, str, str, LiteralString], ...] = (
    (
        "invoice_lines_add_up", "I13: an invoice's lines add up to its total", "invoices",
        "select v.customer_id, v.id, v.total_minor, v.subtotal_minor, v.discount_minor,"
        " v.tax_minor, i.total from invoices v left join (select customer_id, invoice_id,"
        "  sum(amount_minor) as total,"
        "  coalesce(sum(amount_minor) filter (where kind not in ('discount', 'tax')), 0)"
        "   as subtotal,"
        "  coalesce(-sum(amount_minor) filter (where kind = 'discount'), 0) as discount,"
        "  coalesce(sum((why->>'tax_minor')::bigint) filter (where kind = 'tax'), 0) as tax"
        "  from invoice_items group by customer_id, invoice_id) i"
        "  on i.customer_id = v.customer_id and i.invoice_id = v.id"
        " where v.runner = 'paydesk' and (v.total_minor, v.subtotal_minor, v.discount_minor,"
        "  v.tax_minor) is distinct from (coalesce(i.total, 0), coalesce(i.subtotal, 0),"
        "  coalesce(i.discount, 0), coalesce(i.tax, 0)) limit 4",
    ),
    (
        "invoices_are_posted", "I3: the books of a paid invoice are its lines", "invoices",
        "select v.customer_id, v.id, v.number, v.paid_minor, v.balance_minor, t.sold, t.tax,"
        " b.back from invoices v cross join lateral (select"
        "  coalesce(sum(case when debit = 5 then amount else -amount end), 0) as sold,"
        "  coalesce(sum(case when debit = 5 then amount else -amount end)"
        "   filter (where reason = 'TAX'), 0) as tax from transfers"
        "  where customer_id = v.customer_id and txn_id = v.txn_id"
        "  and reason in ('SALE', 'TAX')) t"
        " cross join lateral (select coalesce(sum(amount), 0) as back, count(*) as n from transfers"
        "  where customer_id = v.customer_id and subject_id = v.id"
        "  and reason = 'INVOICE_CREDITED') b"
        " where v.state = 'paid' and v.runner = 'paydesk' and ("
        "  t.sold <> v.paid_minor + greatest(v.balance_minor, 0) - b.back"
        "  or (v.credited_minor = 0 and v.total_minor >= 0 and v.paid_minor = v.due_minor"
        "   and (t.tax <> v.tax_minor or v.due_minor + v.balance_minor <> v.total_minor)))"
        " limit 4",
    ),
    (
        "balances_are_invoiced", "what customers have towards invoices is what those say",
        "invoices",
        "select customer_id, currency, sum(booked) as booked, sum(told) as told from ("
        " select customer_id, asset as currency, balance as booked, 0 as told from accounts"
        "  where code = 18"
        " union all select customer_id, currency, 0, -balance_minor from invoices"
        "  where state not in ('draft', 'void') and runner = 'paydesk'"
        " union all select n.customer_id, n.currency, 0, n.balance_minor from credit_notes n"
        "  join invoices v on v.customer_id = n.customer_id and v.id = n.invoice_id"
        "  where n.state = 'issued' and v.state <> 'void') l"
        " group by customer_id, currency having sum(booked) <> sum(told) or sum(booked) < 0"
        " limit 4",
    ),
    (
        "credit_notes_add_up", "what credit notes give is what the invoice says of it",
        "invoices",
        "select v.customer_id, v.id, v.credited_minor, coalesce(n.total, 0) as notes"
        " from invoices v left join (select customer_id, invoice_id, sum(amount_minor) as total"
        "  from credit_notes where state = 'issued' group by customer_id, invoice_id) n"
        "  on n.customer_id = v.customer_id and n.invoice_id = v.id"
        " where v.credited_minor <> coalesce(n.total, 0)"
        " or v.credited_minor > greatest(v.total_minor, 0) limit 4",
    ),
    (
        "numbers_gap_free", "documents are numbered without gaps, in each series", "invoices",
        "select s.series, s.last_number, n.count, n.top from invoice_series s left join ("
        " select series, count(*) as count, max(number) as top from invoice_numbers"
        "  group by series) n on n.series = s.series"
        " where s.last_number <> coalesce(n.count, 0) or s.last_number <> coalesce(n.top, 0)"
        " limit 4",
    ),
    (
        "numbers_are_theirs", "a document carries the number that it drew", "invoices",
        "select d.customer_id, d.id, d.number, n.number as drawn from (select customer_id, id,"
        "  series, number from invoices where number is not null and runner = 'paydesk'"
        "  union all select customer_id, id, series, number from credit_notes"
        "  where number is not null) d left join invoice_numbers n on n.series = d.series"
        "  and n.object_id = d.id"
        " where n.number is null or d.number <> d.series || '-' ||"
        "  lpad(n.number::text, greatest(6, length(n.number::text)), '0') limit 4",
    ),
)  # fmt: skip
