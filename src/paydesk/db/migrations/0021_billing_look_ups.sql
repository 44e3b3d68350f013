-- no transaction
-- Everybody's subscriptions, wallets and assessments, newest first.
drop index concurrently if exists subscriptions_listed;
create index concurrently subscriptions_listed on subscriptions (created_at, id);
drop index concurrently if exists wallets_listed;
create index concurrently wallets_listed on wallets (created_at, id);
drop index concurrently if exists risk_assessments_listed;
create index concurrently risk_assessments_listed on risk_assessments (created_at, id);

-- How many live subscriptions each plan has, and each of its versions.
drop index concurrently if exists subscriptions_plans;
create index concurrently subscriptions_plans on subscriptions (plan_id, plan_version)
    where state in ('trialing', 'active', 'past_due', 'paused', 'unpaid');

-- Disputes that wait for an answer, those of clocks too.
drop index concurrently if exists disputes_waiting;
create index concurrently disputes_waiting on disputes (created_at, id)
    where state = 'needs_response';

-- What the figures of recurring revenue read of the past, and nothing else of it.
drop index concurrently if exists subscription_history_figures;
create index concurrently subscription_history_figures on subscription_history (changed_at)
    include (state, plan_id, quantity, currency, monthly_minor, was_state, was_plan_id,
        was_quantity, was_currency, was_minor, movement);
