-- no transaction
-- What every subscription was at any time, and what it brings in a month.

-- What it counts as recurring revenue now, a month; nothing while it is not paid for.
alter table subscriptions add column if not exists monthly_minor bigint not null default 0;

-- Append-only: a row when a subscription is made, and whenever one of these changes. number: by
-- customer, without gaps. was_minor: what it brought in a month, in this currency, until then; the
-- others that begin with was are the subscription's row before. movement: what the change is to the
-- customer's recurring revenue of this currency, over all subscriptions.
create table if not exists subscription_history (
    customer_id uuid not null,
    number integer not null check (number > 0),
    subscription_id uuid not null,
    changed_at timestamptz not null,
    state text not null,
    plan_id uuid not null,
    plan_version integer not null,
    quantity integer not null,
    currency text not null,
    monthly_minor bigint not null check (monthly_minor >= 0),
    was_minor bigint not null check (was_minor >= 0),
    was_state text,
    was_plan_id uuid,
    was_quantity integer,
    was_currency text,
    movement text check (movement in
        ('new', 'expansion', 'contraction', 'churned', 'reactivation')),
    created_at timestamptz not null default now(),
    primary key (customer_id, number),
    check ((movement is null) = (monthly_minor = was_minor))
);
drop trigger if exists subscription_history_append_only on subscription_history;
create trigger subscription_history_append_only before update or delete on subscription_history
    for each row execute function refuse_change();
drop trigger if exists subscription_history_no_truncate on subscription_history;
create trigger subscription_history_no_truncate before truncate on subscription_history
    for each statement execute function refuse_change();

-- Codes say for how long they are, and whether the running period has them.
update subscriptions s set discount = s.discount || jsonb_build_object('duration', p.duration,
    'runs', exists (select from invoices v where v.customer_id = s.customer_id
        and v.subscription_id = s.id and v.cycle = s.period and v.discount_minor > 0))
from promos p
where p.id = (s.discount ->> 'promo_id')::uuid and not s.discount ? 'duration';

-- Of those that were there before: since when each is paid for, and how it stands.
with told as (
    select s.*, coalesce(f.paid_at, s.created_at) as since, f.paid_at is not null as is_paid,
        v.interval_unit, v.interval_count, s.price_minor * s.quantity as full_minor,
        case when s.discount ->> 'left' is null
            or (s.discount ->> 'duration' = 'repeating' and (s.discount ->> 'runs')::boolean)
            then case when (s.discount ->> 'percent')::int > 0
                then div(2 * (s.price_minor * s.quantity)::numeric
                    * (s.discount ->> 'percent')::int + 100, 200)
                else coalesce((s.discount ->> 'minor')::bigint, 0) end
            else 0 end as off_minor
    from subscriptions s
    join plan_versions v on v.plan_id = s.plan_id and v.version = s.plan_version
    left join lateral (select min(i.paid_at) as paid_at from invoices i
        where i.customer_id = s.customer_id and i.subscription_id = s.id and i.state = 'paid'
        and (i.cycle is not null or i.total_minor > 0)) f on true
    where not exists (select from subscription_history h
        where h.customer_id = s.customer_id and h.subscription_id = s.id)
), worth as (
    select told.*, case when is_paid or (runner = 'provider' and state = 'active') then
        div(2 * (full_minor - least(off_minor, full_minor))::numeric
            * case interval_unit when 'week' then 52 when 'day' then 365 else 1 end
            + case interval_unit when 'month' then 1 else 12 end * interval_count,
            2 * case interval_unit when 'month' then 1 else 12 end * interval_count)::bigint
        else 0 end as minor
    from told
), rows as (
    select *, since as changed_at, 1 as step,
        case when is_paid and state not in ('active', 'past_due') then 'active' else state end
            as stood,
        minor as monthly
    from worth
    union all
    select *, greatest(since, coalesce(ended_at, paused_at, updated_at)), 2, state, 0
    from worth where is_paid and state not in ('active', 'past_due')
), moved as (
    select rows.*, case when step = 1 then 0 else minor end as was,
        coalesce(sum(monthly - case when step = 1 then 0 else minor end) over whose, 0) as total,
        coalesce(max(monthly) over (whose rows between unbounded preceding and 1 preceding), 0)
            as most,
        row_number() over (partition by customer_id order by changed_at, id, step)
            + coalesce((select max(h.number) from subscription_history h
                where h.customer_id = rows.customer_id), 0) as number
    from rows
    window whose as (partition by customer_id, currency order by changed_at, id, step)
), kept as (
    insert into subscription_history (customer_id, number, subscription_id, changed_at, state,
        plan_id, plan_version, quantity, currency, monthly_minor, was_minor, was_state,
        was_plan_id, was_quantity, was_currency, movement)
    select customer_id, number, id, changed_at, stood, plan_id, plan_version, quantity, currency,
        monthly, was, case step when 2 then 'active' end, case step when 2 then plan_id end,
        case step when 2 then quantity end, case step when 2 then currency end, case when monthly = was then null
            when total - (monthly - was) = 0
                then case when most > 0 then 'reactivation' else 'new' end
            when total = 0 then 'churned'
            when monthly > was then 'expansion' else 'contraction' end
    from moved
)
update subscriptions s set monthly_minor = w.minor from worth w
where w.customer_id = s.customer_id and w.id = s.id and w.state in ('active', 'past_due')
    and w.minor > 0;
