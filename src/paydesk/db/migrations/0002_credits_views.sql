-- The credits family's literal table as a read-only view, so that its old reports keep running.

create schema credits;

-- amount_usd is known only for payments in dollars; a rate is stored with the payment later on.
create view credits.payment_transactions as
select
    p.id,
    p.customer_id as user_id,
    case when p.asked_minor <= 2147483647 then p.asked_minor::integer end as amount_cents,
    (case when p.currency = 'usd' and p.asked_minor < 10000000000
        then p.asked_minor::numeric / 100 end)::numeric(10, 2) as amount_usd,
    case when p.credits_to_add <= 2147483647 then p.credits_to_add::integer end as credits_to_add,
    case p.state
        when 'succeeded' then 'completed'
        when 'canceled' then 'cancelled'
        when 'requires_action' then 'pending'
        when 'authorized' then 'processing'
        else p.state
    end as status,
    p.provider,
    p.session_ref as provider_session_id,
    p.provider_payment_ref as provider_payment_id,
    p.package_id,
    p.package_name,
    p.credits_added_at is not null as credits_added,
    p.credits_added_at at time zone 'utc' as credits_added_at,
    p.credit_txn_id as credit_transaction_id,
    p.created_at at time zone 'utc' as created_at,
    p.updated_at at time zone 'utc' as updated_at,
    p.completed_at at time zone 'utc' as completed_at,
    p.expires_at at time zone 'utc' as expires_at,
    p.error_message,
    p.error_code,
    p.metadata
from payments p;

grant usage on schema credits to paydesk_app;
grant select on all tables in schema credits to paydesk_app;
