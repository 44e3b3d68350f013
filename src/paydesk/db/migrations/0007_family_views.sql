-- The services, learning and wallets families' literal tables as read-only views, so that old
-- reports keep running. The credits family's learns of other currencies than dollars.

create schema services;
create schema learning;
create schema wallets;

-- An amount in major units. Digits after the point by ISO 4217, as rules/money.py has them.
create function services.major(minor bigint, currency text) returns numeric
language sql immutable parallel safe
return minor::numeric / case
    when currency in ('bif', 'clp', 'djf', 'gnf', 'isk', 'jpy', 'kmf', 'krw', 'pyg', 'rwf', 'ugx',
        'vnd', 'vuv', 'xaf', 'xof', 'xpf') then 1
    when currency in ('bhd', 'iqd', 'jod', 'kwd', 'lyd', 'omr', 'tnd') then 1000
    when currency in ('clf', 'uyw') then 10000
    else 100
end;

-- Services ---------------------------------------------------------------------------------------

create type services.payment_type as enum ('subscription', 'renewal', 'upgrade', 'refund');
create type services.payment_method as enum ('credit_card', 'debit_card', 'bank_transfer', 'paypal',
    'stripe', 'crypto', 'other');
create type services.payment_status as enum ('pending', 'processing', 'succeeded', 'failed',
    'canceled', 'refunded', 'partially_refunded');

-- A refund is a row of its own too. Amounts beyond the document's precision are null.
create view services.payments as
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
    p.service_id,
    p.handle::varchar(255) as payment_intent_id,
    (case when p.payment_type in ('subscription', 'renewal', 'upgrade') then p.payment_type
        end)::services.payment_type as payment_type,
    (case
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
    r.id, r.customer_id, p.service_id, ('refund_' || replace(r.id::text, '-', ''))::varchar(255),
    'refund'::services.payment_type,
    (case
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

-- Without payment_status: what its payment says, services.payments tells.
create view services.customer_services as
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
from customer_services s;

-- Learning ---------------------------------------------------------------------------------------

create view learning.payments as
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
    p.updated_at
from payments p
join customers c on c.customer_id = p.customer_id
where p.deleted_at is null;

create view learning.payment_methods as
select
    m.id,
    c.external_id as user_id,
    m.ref as stripe_payment_method_id,
    m.kind as type,
    m.brand as card_brand,
    m.last4 as card_last4,
    m.exp_month::integer as card_exp_month,
    m.exp_year::integer as card_exp_year,
    m.is_default,
    m.created_at,
    m.updated_at
from payment_methods m
join customers c on c.customer_id = m.customer_id
where m.detached_at is null;

create view learning.purchases as
select
    u.id,
    c.external_id as user_id,
    u.item_key as item_id,
    i.grants -> 0 ->> 'type' as item_type,
    u.quantity,
    services.major(u.price_minor, u.currency) as amount,
    upper(u.currency) as currency,
    u.state as status,
    u.payment_id,
    u.completed_at as purchased_at,
    u.refunded_at,
    u.created_at,
    u.updated_at
from purchases u
join customers c on c.customer_id = u.customer_id
left join items i on i.id = u.item_id;

create view learning.user_access as
select
    g.id,
    c.external_id as user_id,
    g.resource_type,
    g.resource_id,
    g.source as access_type,
    g.source_id,
    g.starts_at as granted_at,
    nullif(g.expires_at, 'infinity') as expires_at,
    r.revoked_at,
    r.revoked_at is null and g.starts_at <= now() and g.expires_at > now() as is_active,
    g.created_at
from access_grants g
join customers c on c.customer_id = g.customer_id
left join lateral (
    select max(revoked_at) as revoked_at from access_revocations v
    where v.customer_id = g.customer_id and v.grant_id = g.id and v.reinstated_at is null
) r on true;

create view learning.user_stripe_mapping as
select
    c.external_id as user_id,
    p.ref as stripe_customer_id,
    p.created_at
from provider_customers p
join customers c on c.customer_id = p.customer_id
where p.provider = 'stripe';

-- Wallets ----------------------------------------------------------------------------------------

create type wallets.payment_method as enum ('STRIPE', 'MONCASH', 'NATCASH', 'PAYPAL', 'CRYPTO',
    'CASH', 'BANK_TRANSFER', 'WALLET', 'CREDIT_CARD', 'DEBIT_CARD', 'OTHER');
create type wallets.payment_status as enum ('PENDING', 'PROCESSING', 'COMPLETED', 'FAILED',
    'CANCELLED', 'REFUNDED');

create view wallets."Payment" as
select
    p.id,
    p.customer_id as user_id,
    (case when p.asked_minor < 1000000000000000
        then services.major(p.asked_minor, p.currency) end)::numeric(15, 2) as amount,
    upper(p.currency)::varchar(3) as currency,
    (case
        when p.provider = 'stripe' then 'STRIPE'
        when p.provider = 'btcpay' then 'CRYPTO'
        when p.provider in ('moncash', 'natcash', 'paypal', 'wallet') then upper(p.provider)
        when p.method in ('cash', 'bank_transfer') then upper(p.method)
        else 'OTHER'
    end)::wallets.payment_method as method,
    (case p.state
        when 'pending' then 'PENDING'
        when 'requires_action' then 'PENDING'
        when 'processing' then 'PROCESSING'
        when 'authorized' then 'PROCESSING'
        when 'succeeded' then 'COMPLETED'
        when 'partially_refunded' then 'COMPLETED'
        when 'failed' then 'FAILED'
        when 'refunded' then 'REFUNDED'
        else 'CANCELLED'
    end)::wallets.payment_status as status,
    p.description,
    p.reference,
    case when p.provider = 'stripe' then p.provider_payment_ref end as stripe_payment_intent_id,
    p.metadata,
    p.completed_at at time zone 'utc' as completed_at,
    p.created_at at time zone 'utc' as created_at,
    p.updated_at at time zone 'utc' as updated_at
from payments p
where p.deleted_at is null;

create view wallets."Wallet" as
select
    w.id,
    w.customer_id as user_id,
    services.major(coalesce(a.balance, 0), w.currency)::numeric(15, 2) as balance,
    upper(w.currency)::varchar(3) as currency,
    w.state <> 'open' as is_frozen,
    w.created_at at time zone 'utc' as created_at,
    w.updated_at at time zone 'utc' as updated_at
from wallets w
left join accounts a on a.customer_id = w.customer_id and a.code = 2 and a.asset = w.currency;

-- Credits: dollars by the rate stored with the payment --------------------------------------------

create or replace view credits.payment_transactions as
select
    p.id,
    p.customer_id as user_id,
    case when p.asked_minor <= 2147483647 then p.asked_minor::integer end as amount_cents,
    (case
        when p.currency = 'usd' and p.asked_minor < 10000000000 then p.asked_minor::numeric / 100
        when p.usd_minor < 10000000000 then p.usd_minor::numeric / 100
    end)::numeric(10, 2) as amount_usd,
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
from payments p
where p.deleted_at is null;

grant usage on schema services, learning, wallets to paydesk_app;
grant select on all tables in schema services, learning, wallets to paydesk_app;
