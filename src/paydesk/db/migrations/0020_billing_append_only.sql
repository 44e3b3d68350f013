-- no transaction
-- What an invoice's line and a credit note say is never changed, by whomever.

create or replace trigger invoice_items_append_only before update or delete on invoice_items
    for each row execute function refuse_change();
create or replace trigger invoice_items_no_truncate before truncate on invoice_items
    for each statement execute function refuse_change();

-- A note gets its number after it is given, and may be void.
create or replace trigger credit_notes_append_only before delete or update of
    customer_id, id, invoice_id, reason, memo, currency, amount_minor, tax_minor, refunded_minor,
    balance_minor, written_off_minor, items, refund_id, txn_id, series, created_by, request_key,
    clock_id, created_at on credit_notes
    for each row execute function refuse_change();
create or replace trigger credit_notes_no_truncate before truncate on credit_notes
    for each statement execute function refuse_change();
