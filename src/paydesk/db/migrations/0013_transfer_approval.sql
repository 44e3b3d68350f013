-- no transaction
-- The customer whose wallet the money goes to, where a transfer waits for a person to approve it:
-- that moves it, so it is never approved and yet to be paid out.
alter table withdrawals
    add column if not exists to_customer_id uuid,
    drop constraint if exists withdrawals_moved_at_once,
    add constraint withdrawals_moved_at_once
        check (to_customer_id is null or state <> 'approved') not valid;
alter table withdrawals validate constraint withdrawals_moved_at_once;

-- What a customer gave others of his wallets in the last day.
drop index concurrently if exists transfers_given;
create index concurrently transfers_given on transfers (customer_id, effective_at)
    where debit = 2 and credit = 9;
