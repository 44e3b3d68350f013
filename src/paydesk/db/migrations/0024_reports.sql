-- no transaction
-- What cohorts and recurring revenue read of the past: changes of it alone, by customer too.
drop index concurrently if exists subscription_history_moved;
create index concurrently subscription_history_moved on subscription_history (changed_at)
    include (customer_id, currency, movement, monthly_minor, was_minor)
    where movement is not null;

-- Trials by when they began.
drop index concurrently if exists subscriptions_trials;
create index concurrently subscriptions_trials on subscriptions (trial_start)
    where trial_start is not null;

-- What waits for a person: subscriptions whose payment is late, invoices that were given up.
drop index concurrently if exists subscriptions_late;
create index concurrently subscriptions_late on subscriptions (created_at, id)
    where state in ('past_due', 'unpaid');
drop index concurrently if exists invoices_given_up;
create index concurrently invoices_given_up on invoices (uncollectible_at)
    where state = 'uncollectible';
