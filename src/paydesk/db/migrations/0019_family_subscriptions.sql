-- Subscriptions in the families' words: a service that renews itself (services), the table
-- `subscriptions` and the payments made for it (learning). Only views change.

-- Services ---------------------------------------------------------------------------------------

-- A refund is a row of its own too. Amounts beyond the document's precision are null.
create or replace view services.payments as
with refunded as (
    select customer_id, payment_id, max(coalesce(succeeded_at, created_at)) as refunded_at,
        (array_agg(reason order by created_at desc))[1] as reason
    from refunds where state in ('pending', 'succeeded')
    group by customer_id, payment_id
), tries as (
    select distinct on (customer_id, payment_id) customer_id, payment_id, url, expires_at, response
    from attempts order by customer_id, payment_id, created_at desc, id desc
)
select
    p.id,
    p.customer_id,
    coalesce(p.service_id, (p.terms -> 'goods' ->> 'subscription')::uuid) as service_id,
    p.handle::varchar(255) as payment_intent_id,
    (case when p.payment_type in ('subscription', 'renewal', 'upgrade') then p.payment_type
        end)::services.payment_type as payment_type,
    (case
        when p.method in ('credit_card', 'debit_card') then p.method
        when p.provider = 'stripe' then 'stripe'
        when p.provider = 'paypal' then 'paypal'
        when p.provider = 'btcpay' then 'crypto'
        when p.method = 'bank_transfer' then 'bank_transfer'
        else 'other'
    end)::services.payment_method as payment_method,
    (case p.state
        when 'requires_action' then 'pending'
        when 'authorized' then 'processing'
        when 'expired' then 'canceled'
        else p.state
    end)::services.payment_status as status,
    (case when p.asked_minor < 10000000000
        then services.major(p.asked_minor, p.currency) end)::numeric(10, 2) as amount,
    upper(p.currency)::varchar(3) as currency,
    p.description::varchar(500) as description,
    p.provider_payment_ref::varchar(255) as external_payment_id,
    t.url::varchar(1000) as payment_url,
    t.expires_at at time zone 'utc' as payment_url_expires_at,
    p.completed_at at time zone 'utc' as paid_at,
    p.failed_at at time zone 'utc' as failed_at,
    coalesce(p.canceled_at, case when p.state = 'expired' then p.updated_at end)
        at time zone 'utc' as canceled_at,
    p.error_message as failure_reason,
    p.metadata::json as payment_metadata,
    t.response::json as provider_response,
    (case when p.refunded_minor < 10000000000
        then services.major(p.refunded_minor, p.currency) end)::numeric(10, 2) as refunded_amount,
    r.refunded_at at time zone 'utc' as refunded_at,
    r.reason::varchar(255) as refund_reason,
    p.created_at at time zone 'utc' as created_at,
    p.updated_at at time zone 'utc' as updated_at
from payments p
left join refunded r on r.customer_id = p.customer_id and r.payment_id = p.id
left join tries t on t.customer_id = p.customer_id and t.payment_id = p.id
where p.deleted_at is null
union all
select
    r.id, r.customer_id,
    coalesce(p.service_id, (p.terms -> 'goods' ->> 'subscription')::uuid),
    ('refund_' || replace(r.id::text, '-', ''))::varchar(255),
    'refund'::services.payment_type,
    (case
        when p.method in ('credit_card', 'debit_card') then p.method
        when p.provider = 'stripe' then 'stripe'
        when p.provider = 'paypal' then 'paypal'
        when p.provider = 'btcpay' then 'crypto'
        when p.method = 'bank_transfer' then 'bank_transfer'
        else 'other'
    end)::services.payment_method,
    (case r.state
        when 'requested' then 'pending'
        when 'pending' then 'processing'
        when 'rejected' then 'canceled'
        else r.state
    end)::services.payment_status,
    (case when r.amount_minor < 10000000000
        then services.major(r.amount_minor, r.currency) end)::numeric(10, 2),
    upper(r.currency)::varchar(3), coalesce(r.note, r.reason)::varchar(500),
    r.provider_ref::varchar(255), null::varchar(1000), null::timestamp,
    r.succeeded_at at time zone 'utc', r.failed_at at time zone 'utc', null::timestamp,
    r.error_message, r.metadata::json, null::json, null::numeric(10, 2), null::timestamp,
    r.reason::varchar(255), r.created_at at time zone 'utc', r.updated_at at time zone 'utc'
from refunds r
join payments p on p.customer_id = r.customer_id and p.id = r.payment_id;

-- A subscription is a service whose payments are of the types subscription, renewal and upgrade.
create or replace view services.customer_services as
select
    s.id,
    s.customer_id,
    s.service_type,
    s.state = 'active' as active,
    s.duration_months as subscription_duration,
    s.expires_at at time zone 'utc' as subscription_expires_at,
    (case when s.fee_minor < 10000000000
        then services.major(s.fee_minor, s.currency) end)::numeric(10, 2) as subscription_fee,
    s.created_at at time zone 'utc' as created_at,
    s.updated_at at time zone 'utc' as updated_at
from customer_services s
union all
select
    b.id, b.customer_id, p.key,
    b.state in ('trialing', 'active', 'past_due'),
    v.interval_count * case v.interval_unit when 'year' then 12 when 'month' then 1 else 0 end,
    b.period_end at time zone 'utc',
    (case when b.price_minor * b.quantity < 10000000000
        then services.major(b.price_minor * b.quantity, b.currency) end)::numeric(10, 2),
    b.created_at at time zone 'utc', b.updated_at at time zone 'utc'
from subscriptions b
join plans p on p.id = b.plan_id
join plan_versions v on v.plan_id = b.plan_id and v.version = b.plan_version;

-- Learning ---------------------------------------------------------------------------------------

create view learning.subscriptions as
select
    s.id,
    c.external_id as user_id,
    s.plan_id,
    s.provider_ref as stripe_subscription_id,
    case s.state when 'canceled' then 'cancelled' else s.state end as status,
    s.quantity,
    services.major(s.price_minor * s.quantity, s.currency) as amount,
    upper(s.currency) as currency,
    s.period_start as current_period_start,
    s.period_end as current_period_end,
    s.trial_start,
    s.trial_end,
    s.cancel_at is not null as cancel_at_period_end,
    s.canceled_at as cancelled_at,
    s.ended_at,
    s.created_at,
    s.updated_at
from subscriptions s
join customers c on c.customer_id = s.customer_id;
grant select on learning.subscriptions to paydesk_app;

create or replace view learning.payments as
select
    p.id,
    c.external_id as user_id,
    p.provider_payment_ref as stripe_payment_intent_id,
    (select u.id from purchases u where u.customer_id = p.customer_id and u.payment_id = p.id
        order by u.created_at limit 1) as purchase_id,
    services.major(p.asked_minor, p.currency) as amount,
    upper(p.currency) as currency,
    case p.state
        when 'requires_action' then 'pending'
        when 'authorized' then 'pending'
        when 'processing' then 'pending'
        when 'expired' then 'failed'
        when 'canceled' then 'failed'
        when 'partially_refunded' then 'succeeded'
        else p.state
    end as status,
    p.description,
    p.completed_at as paid_at,
    p.created_at,
    p.updated_at,
    (p.terms -> 'goods' ->> 'subscription')::uuid as subscription_id
from payments p
join customers c on c.customer_id = p.customer_id
where p.deleted_at is null;
