-- Plans, subscriptions, invoices, taxes and clocks that are moved by hand.

-- 18 balance: what the desk owes a customer towards invoices. 19 tax: what is owed to the state.
alter table accounts drop constraint accounts_code_check;
alter table accounts add constraint accounts_code_check check (code between 1 and 19) not valid;
alter table accounts validate constraint accounts_code_check;

-- Clocks moved by hand ---------------------------------------------------------------------------------

-- In the sandbox only. now_at stands until it is advanced, and never goes back. advancing_to: where
-- an advance that was begun leads; it is taken up again after a crash.
create table clocks (
    id uuid primary key,
    name text not null default '' check (length(name) <= 255),
    now_at timestamptz not null,
    advancing_to timestamptz,
    error text,
    deleted_at timestamptz,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    check (advancing_to >= now_at)
);

-- Who stands on a clock; it is set when a customer is made, and for good.
create table clock_customers (
    clock_id uuid not null references clocks (id),
    customer_id uuid not null,
    primary key (clock_id, customer_id)
);

-- Catalogue --------------------------------------------------------------------------------------

-- A plan is what is sold; version names the terms that are sold now. Of a family a customer has one
-- live subscription.
create table plans (
    id uuid primary key,
    key text not null unique check (length(key) between 1 and 100),
    kind text not null default 'plan' check (kind in ('plan', 'membership')),
    family text not null check (length(family) between 1 and 100),
    name text not null check (length(name) between 1 and 255),
    description text,
    version integer not null default 1 check (version > 0),
    active boolean not null default true,
    public boolean not null default true,
    position integer not null default 0,
    metadata jsonb not null default '{}',
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now()
);

-- The terms of a plan. A row never changes: who subscribed keeps his until he is moved.
-- prices: minor units by currency. grants: resources as {type, id}. credits: given each month of a
-- period (each period where that is shorter). upgrade, downgrade: how the rest of a period counts.
create table plan_versions (
    plan_id uuid not null references plans (id),
    version integer not null check (version > 0),
    interval_unit text not null check (interval_unit in ('day', 'week', 'month', 'year')),
    interval_count integer not null default 1 check (interval_count between 1 and 1000),
    prices jsonb not null,
    billing text not null default 'anniversary' check (billing in ('anniversary', 'calendar')),
    trial_days integer not null default 0 check (trial_days between 0 and 730),
    trial_needs_method boolean not null default true,
    grants jsonb not null default '[]',
    credits bigint not null default 0 check (credits >= 0),
    credits_rollover text not null default 'none'
        check (credits_rollover in ('none', 'all', 'capped')),
    credits_cap bigint check (credits_cap > 0),
    least_quantity integer not null default 1 check (least_quantity > 0),
    most_quantity integer not null default 1,
    upgrade text not null default 'seconds'
        check (upgrade in ('seconds', 'days', 'none', 'full')),
    downgrade text not null default 'seconds'
        check (downgrade in ('seconds', 'days', 'none', 'full')),
    upgrade_when text not null default 'now' check (upgrade_when in ('now', 'period_end')),
    downgrade_when text not null default 'period_end' check (downgrade_when in ('now', 'period_end')),
    -- Days after the first failure, and what is done when all have failed.
    dunning jsonb not null default '{"days": [1, 3, 5, 7], "final": "cancel"}',
    grace_days integer not null default 7 check (grace_days between 0 and 365),
    product text not null default '',
    created_at timestamptz not null default now(),
    primary key (plan_id, version),
    check (most_quantity >= least_quantity),
    check (credits_rollover <> 'capped' or credits_cap is not null)
);

-- A rate holds from valid_from until the next of the same country and product begins. country '':
-- anywhere else; product '': everything else. micros: millionths, 8.875 % are 88750.
create table tax_rates (
    id uuid primary key,
    name text not null check (length(name) between 1 and 100),
    country text not null default '' check (country = upper(country) and length(country) in (0, 2)),
    product text not null default '',
    micros integer not null check (micros between 0 and 1000000),
    inclusive boolean not null default false,
    active boolean not null default true,
    valid_from timestamptz not null default '-infinity',
    created_by text,
    created_at timestamptz not null default now(),
    unique (country, product, name, valid_from)
);

-- once: the first invoice that is paid for; repeating: so many periods; forever. trial_days: of a
-- free trial. plans: keys that a code is for.
alter table promos
    add column duration text not null default 'once'
        check (duration in ('once', 'repeating', 'forever')),
    add column duration_periods integer check (duration_periods > 0),
    add column trial_days integer check (trial_days between 1 and 730),
    add column plans text[];
alter table promos drop constraint promos_kind_check;
alter table promos add constraint promos_kind_check
    check (kind in ('percent', 'fixed', 'bonus_credits', 'free_trial')) not valid;
alter table promos validate constraint promos_kind_check;
alter table promos add constraint promos_free_trial_check
    check (kind <> 'free_trial' or trial_days is not null) not valid;
alter table promos validate constraint promos_free_trial_check;
alter table promos add constraint promos_periods_check
    check (duration <> 'repeating' or duration_periods is not null) not valid;
alter table promos validate constraint promos_periods_check;

-- Subscriptions ----------------------------------------------------------------------------------

-- period: the number of the current one. The one that begins at anchor is number anchor_period, and
-- boundaries from there are a pure function of anchor, zone and the plan's interval. What lies
-- before it is a trial, or the short first period of calendar billing. runner: who bills, this desk or the provider.
-- next: a change that waits for the period's end, {plan_id, plan_version, quantity}.
-- discount: {promo_id, code, percent | minor, left}; left null: for ever.
-- due_at: the next instant at which something is to be done; infinity where nothing is.
create table subscriptions (
    customer_id uuid not null,
    id uuid not null,
    version integer not null default 0,
    state text not null check (state in ('incomplete', 'trialing', 'active', 'past_due', 'paused',
        'unpaid', 'canceled', 'expired')),
    runner text not null default 'paydesk' check (runner in ('paydesk', 'provider')),
    plan_id uuid not null,
    plan_version integer not null,
    family text not null,
    quantity integer not null default 1 check (quantity > 0),
    currency text not null check (currency = lower(currency) and length(currency) = 3),
    price_minor bigint not null check (price_minor >= 0),
    anchor timestamptz not null,
    anchor_period integer not null default 0,
    zone text not null default 'UTC',
    period integer not null default 0,
    period_start timestamptz not null,
    period_end timestamptz not null,
    credits_month integer not null default 0,
    trial_start timestamptz,
    trial_end timestamptz,
    cancel_at timestamptz,
    canceled_at timestamptz,
    cancel_reason text,
    ended_at timestamptz,
    end_reason text,
    paused_at timestamptz,
    resume_at timestamptz,
    next jsonb,
    discount jsonb,
    method_id uuid,
    provider text not null,
    provider_account text not null default '',
    provider_ref text,
    latest_invoice_id uuid,
    told jsonb not null default '{}',
    due_at timestamptz not null default 'infinity',
    metadata jsonb not null default '{}',
    request_key uuid not null,
    request_hash bytea not null,
    clock_id uuid,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    primary key (customer_id, id),
    unique (customer_id, request_key),
    check (period_end > period_start),
    check ((trial_start is null) = (trial_end is null)),
    check ((ended_at is not null) = (state in ('canceled', 'expired')))
) with (fillfactor = 80);
create unique index subscriptions_live on subscriptions (customer_id, family)
    where state in ('trialing', 'active', 'past_due', 'paused', 'unpaid');
create index subscriptions_due on subscriptions (due_at)
    where clock_id is null and due_at < 'infinity';
create index subscriptions_clocked on subscriptions (clock_id, due_at)
    where clock_id is not null and due_at < 'infinity';

-- A customer has one trial of a family, whatever becomes of it.
create table trials (
    customer_id uuid not null,
    family text not null,
    subscription_id uuid not null,
    days integer not null,
    created_at timestamptz not null default now(),
    primary key (customer_id, family)
);

-- Invoices ---------------------------------------------------------------------------------------

-- cycle: the number of the subscription's period that this bills; there is one invoice for each.
-- total = subtotal - discount + exclusive tax; due = total - balance. balance: what the customer's
-- balance paid (below zero: what a negative total put there). number: drawn after the fact, per
-- series, without gaps. try_at: when the money is asked for next; due_at: when it is expected.
create table invoices (
    customer_id uuid not null,
    id uuid not null,
    version integer not null default 0,
    subscription_id uuid,
    state text not null check (state in ('draft', 'open', 'paid', 'void', 'uncollectible')),
    reason text not null check (reason in ('subscription_create', 'subscription_cycle',
        'subscription_update', 'manual')),
    cycle integer,
    runner text not null default 'paydesk' check (runner in ('paydesk', 'provider')),
    currency text not null check (currency = lower(currency) and length(currency) = 3),
    subtotal_minor bigint not null default 0,
    discount_minor bigint not null default 0 check (discount_minor >= 0),
    tax_minor bigint not null default 0,
    total_minor bigint not null default 0,
    balance_minor bigint not null default 0,
    due_minor bigint not null default 0 check (due_minor >= 0),
    paid_minor bigint not null default 0 check (paid_minor >= 0),
    credited_minor bigint not null default 0 check (credited_minor >= 0),
    period_start timestamptz,
    period_end timestamptz,
    series text not null default 'INV',
    number text,
    payment_id uuid,
    attempts integer not null default 0,
    first_failed_at timestamptz,
    try_at timestamptz,
    error_code text,
    due_at timestamptz,
    finalized_at timestamptz,
    paid_at timestamptz,
    voided_at timestamptz,
    uncollectible_at timestamptz,
    secret text not null,
    seller jsonb not null default '{}',
    buyer jsonb not null default '{}',
    memo text,
    txn_id uuid,
    provider text,
    provider_account text,
    provider_ref text,
    hosted_url text,
    pdf_url text,
    metadata jsonb not null default '{}',
    request_key uuid not null,
    clock_id uuid,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    primary key (customer_id, id),
    unique (customer_id, request_key),
    check (state = 'draft' or finalized_at is not null)
) with (fillfactor = 80);
create unique index invoices_cycle on invoices (customer_id, subscription_id, cycle)
    where cycle is not null and subscription_id is not null;
create unique index invoices_draft on invoices (customer_id, subscription_id)
    where state = 'draft' and subscription_id is not null;
create index invoices_subscription on invoices (customer_id, subscription_id, created_at)
    where subscription_id is not null;
create index invoices_created on invoices (created_at, id);
create index invoices_unnumbered on invoices (finalized_at)
    where number is null and state <> 'draft' and runner = 'paydesk';
create index invoices_try on invoices (try_at) where try_at is not null and clock_id is null;
create index invoices_try_clocked on invoices (clock_id, try_at)
    where try_at is not null and clock_id is not null;

-- Append-only. amount: what the line adds to the total, below zero for credits and discounts; tax
-- that a price includes is in the line it belongs to, and its own line is 0 with the sum in `why`.
-- of_item: the line that this one takes back, discounts or taxes. why: inputs and rule.
create table invoice_items (
    customer_id uuid not null,
    id uuid not null,
    invoice_id uuid not null,
    position integer not null,
    kind text not null check (kind in ('recurring', 'proration_credit', 'proration_charge',
        'discount', 'tax', 'one_off', 'adjustment')),
    description text not null,
    amount_minor bigint not null,
    currency text not null,
    quantity integer not null default 1,
    unit_minor bigint,
    period_start timestamptz,
    period_end timestamptz,
    plan_id uuid,
    plan_version integer,
    of_item uuid,
    tax_rate_id uuid,
    product text not null default '',
    why jsonb not null default '{}',
    created_at timestamptz not null default now(),
    primary key (customer_id, id),
    unique (customer_id, invoice_id, position)
);

-- Numbers are drawn by a transaction of their own: the counter and the row that uses it up.
create table invoice_series (
    series text primary key,
    last_number bigint not null default 0 check (last_number >= 0)
) with (fillfactor = 50);
create table invoice_numbers (
    series text not null,
    number bigint not null check (number > 0),
    customer_id uuid not null,
    object_id uuid not null,
    created_at timestamptz not null default now(),
    primary key (series, number),
    unique (series, object_id)
);

-- What was given back of a finalized invoice: to the payer (refund_id), to the customer's balance,
-- or by asking for less. amount = refunded + balance + written off; tax is in it.
create table credit_notes (
    customer_id uuid not null,
    id uuid not null,
    invoice_id uuid not null,
    state text not null default 'issued' check (state in ('issued', 'void')),
    reason text,
    memo text,
    currency text not null,
    amount_minor bigint not null check (amount_minor > 0),
    tax_minor bigint not null default 0,
    refunded_minor bigint not null default 0 check (refunded_minor >= 0),
    balance_minor bigint not null default 0 check (balance_minor >= 0),
    written_off_minor bigint not null default 0 check (written_off_minor >= 0),
    items jsonb not null default '[]',
    refund_id uuid,
    txn_id uuid,
    series text not null default 'CN',
    number text,
    created_by text,
    request_key uuid not null,
    clock_id uuid,
    created_at timestamptz not null default now(),
    primary key (customer_id, id),
    unique (customer_id, request_key),
    foreign key (customer_id, invoice_id) references invoices (customer_id, id),
    check (amount_minor = refunded_minor + balance_minor + written_off_minor)
);
create index credit_notes_invoice on credit_notes (customer_id, invoice_id);
create index credit_notes_unnumbered on credit_notes (created_at) where number is null;

create trigger clocks_touch before update on clocks
    for each row execute function touch_updated_at();
create trigger plans_touch before update on plans
    for each row execute function touch_updated_at();
create trigger subscriptions_touch before update on subscriptions
    for each row execute function touch_updated_at();
create trigger invoices_touch before update on invoices
    for each row execute function touch_updated_at();

-- The learning family's table, as its others are. What was given up may still be paid.
create view learning.invoices as
select
    i.id,
    c.external_id as user_id,
    i.subscription_id,
    i.provider_ref as stripe_invoice_id,
    i.number as invoice_number,
    services.major(i.total_minor, i.currency) as amount,
    services.major(i.paid_minor + greatest(i.balance_minor, 0), i.currency) as amount_paid,
    upper(i.currency) as currency,
    case i.state when 'uncollectible' then 'open' else i.state end as status,
    i.period_start,
    i.period_end,
    i.due_at as due_date,
    i.paid_at,
    i.pdf_url as invoice_pdf_url,
    i.created_at,
    i.updated_at
from invoices i
join customers c on c.customer_id = i.customer_id
where i.state <> 'draft';
grant select on learning.invoices to paydesk_app;

-- The learning family's table of plans on sale: at the price in dollars, else at the first.
create view learning.subscription_plans as
select
    p.id,
    p.key,
    p.name,
    p.description,
    services.major(c.minor, c.currency) as price,
    upper(c.currency) as currency,
    v.interval_unit as interval,
    v.interval_count,
    v.trial_days,
    v.grants as features,
    p.active as is_active,
    p.created_at,
    p.updated_at
from plans p
join plan_versions v on v.plan_id = p.id and v.version = p.version
cross join lateral (
    select key as currency, value::bigint as minor from jsonb_each_text(v.prices)
    order by (key = 'usd') desc, key limit 1
) c
where p.kind = 'plan';
grant select on learning.subscription_plans to paydesk_app;
