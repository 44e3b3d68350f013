-- no transaction
-- The postings of a payment; what a batch's debt was repaid with, and what of it ended unused.
-- Spends of credits have no entry.
drop index concurrently if exists transfers_money;
create index concurrently transfers_money on transfers (customer_id, subject_id)
    where subject_id is not null and asset <> 'CREDIT';
drop index concurrently if exists transfers_batches;
create index concurrently transfers_batches on transfers (customer_id, subject_id)
    where subject_id is not null and asset = 'CREDIT' and credit in (4, 8);
-- Everybody's payments by status and by method, newest first.
drop index concurrently if exists payments_state;
create index concurrently payments_state on payments (state, created_at, id);
drop index concurrently if exists payments_method;
create index concurrently payments_method on payments (method, created_at, id)
    where method is not null;
