-- services.payments says credit_card and debit_card of a payment that was brought over with such a
-- word, as the interface does. Only the view is locked, and what may read it stays as it was.

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
    p.service_id,
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
    r.id, r.customer_id, p.service_id, ('refund_' || replace(r.id::text, '-', ''))::varchar(255),
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
