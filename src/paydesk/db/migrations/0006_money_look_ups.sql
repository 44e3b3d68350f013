-- no transaction
-- The postings of a payment, and the repayments of a batch's debt. Spends of credits have no entry.
drop index concurrently if exists transfers_money;
create index concurrently transfers_money on transfers (customer_id, subject_id)
    where subject_id is not null and asset <> 'CREDIT';
drop index concurrently if exists transfers_debts;
create index concurrently transfers_debts on transfers (customer_id, subject_id)
    where subject_id is not null and credit = 4;
