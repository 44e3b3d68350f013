-- The first desk: customers, books, credits, payments, the inbox, events, the catalogue.
--
-- Distribution map in db/distribution.toml. Owned tables begin their key with customer_id; the
-- first lock of every transaction is the customer's head. No foreign keys on the hot append-only
-- tables: `paydesk doctor` proves them.

-- Customers -------------------------------------------------------------------------------------

create table customers (
    customer_id uuid primary key,
    external_id text not null check (length(external_id) between 1 and 255),
    email text check (length(email) <= 320),
    name text check (length(name) <= 255),
    owner_id uuid not null,
    organization_id uuid,
    clock_id uuid,
    metadata jsonb not null default '{}',
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now()
);
create index customers_created on customers (created_at, customer_id);

-- The application's own id of a customer: one winner under concurrency.
create table customer_refs (
    external_id text primary key,
    customer_id uuid not null
);

-- Locked first. seq: events, gap-free. entry_seq: transfers, gap-free. last_at never goes back.
-- day_used counts purchases, spends and transfers of the UTC day `day`.
create table heads (
    customer_id uuid primary key,
    seq bigint not null default 0,
    entry_seq bigint not null default 0,
    last_at timestamptz not null default '-infinity',
    day date not null default '-infinity',
    day_used integer not null default 0,
    clock_id uuid
) with (fillfactor = 50);

-- Books -----------------------------------------------------------------------------------------

-- code: 1 credits 2 wallet 3 held 4 debt 5 deposits 6 revenue 7 usage 8 breakage 9 transit
-- 10 clearing 11 issued 12 deferred. A credit adds to a balance, a debit takes from it.
-- floor: 0 for credits, wallet and held; the least bigint elsewhere.
create table accounts (
    customer_id uuid not null,
    code smallint not null check (code between 1 and 12),
    asset text not null,
    balance bigint not null default 0,
    floor bigint not null default 0,
    next_expiry timestamptz not null default 'infinity',
    primary key (customer_id, code, asset),
    check (balance >= floor)
) with (fillfactor = 70);

create table transfers (
    customer_id uuid not null,
    id uuid not null,
    seq bigint not null,
    txn_id uuid not null,
    debit smallint not null,
    credit smallint not null,
    asset text not null,
    amount bigint not null check (amount > 0),
    debit_after bigint not null,
    credit_after bigint not null,
    reason text not null,
    subject_id uuid,
    reverses_id uuid,
    request_key uuid,
    request_hash bigint,
    note text,
    reference text,
    metadata jsonb,
    effective_at timestamptz not null,
    created_at timestamptz not null default now(),
    primary key (customer_id, id),
    check (debit <> credit)
);
create unique index transfers_seq on transfers (customer_id, seq);
create unique index transfers_key on transfers (customer_id, request_key)
    where request_key is not null;
create index transfers_reverses on transfers (customer_id, reverses_id)
    where reverses_id is not null;

-- origin: the kind that refunded credits had before, so that a promotion stays one.
create table batches (
    customer_id uuid not null,
    id uuid not null,
    kind text not null check (kind in ('purchased', 'membership', 'promotional', 'refunded')),
    granted bigint not null check (granted > 0),
    remaining bigint not null,
    owed bigint not null default 0,
    open boolean not null default true,
    take_at timestamptz not null,
    granted_at timestamptz not null,
    expires_at timestamptz not null default 'infinity',
    payment_id uuid,
    source_id uuid,
    cost_minor bigint,
    currency text,
    origin text,
    clock_id uuid,
    primary key (customer_id, id),
    check (remaining between 0 and granted),
    check (open = (remaining > 0)),
    check (owed between 0 and granted)
) with (fillfactor = 70);
create index batches_queue on batches (customer_id, take_at, id) where open;
create index batches_expiry on batches (customer_id, expires_at, id) where open;
create index batches_payment on batches (customer_id, payment_id) where payment_id is not null;
create index batches_due on batches (expires_at) where open and clock_id is null;
create index batches_owed on batches (customer_id, granted_at, id) where owed > 0;

-- Which batches a transfer of credits took from (> 0) or put back into (< 0).
create table draws (
    customer_id uuid not null,
    transfer_id uuid not null,
    batch_id uuid not null,
    amount bigint not null check (amount <> 0),
    primary key (customer_id, transfer_id, batch_id)
);
create index draws_batch on draws (customer_id, batch_id);

-- Payments --------------------------------------------------------------------------------------

create table payments (
    customer_id uuid not null,
    id uuid not null,
    version integer not null default 0,
    state text not null check (state in ('pending', 'processing', 'requires_action', 'authorized',
        'succeeded', 'failed', 'expired', 'canceled', 'refunded', 'partially_refunded')),
    provider text not null,
    provider_account text not null default '',
    currency text not null check (currency = lower(currency) and length(currency) = 3),
    asked_minor bigint not null check (asked_minor > 0),
    captured_minor bigint not null default 0 check (captured_minor >= 0),
    refunded_minor bigint not null default 0 check (refunded_minor >= 0),
    price_minor bigint not null,
    discount_minor bigint not null default 0 check (discount_minor between 0 and price_minor),
    credits_to_add bigint not null default 0 check (credits_to_add >= 0),
    package_id text,
    package_name text,
    purpose text not null default 'credits',
    payable text,
    promo_id uuid,
    checkout_id uuid,
    session_ref text,
    provider_payment_ref text,
    handle text not null,
    method text,
    description text,
    reference text,
    review text,
    credits_added_at timestamptz,
    credit_txn_id uuid,
    completed_at timestamptz,
    failed_at timestamptz,
    canceled_at timestamptz,
    expires_at timestamptz,
    error_code text,
    error_message text,
    metadata jsonb not null default '{}',
    livemode boolean not null default false,
    request_key uuid not null,
    request_hash bytea not null,
    clock_id uuid,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    primary key (customer_id, id),
    unique (customer_id, request_key),
    unique (customer_id, handle)
) with (fillfactor = 80);
create unique index payments_in_flight on payments (customer_id, payable)
    where payable is not null and state in ('pending', 'processing', 'requires_action');
create unique index payments_reference on payments (customer_id, reference)
    where reference is not null;
create index payments_session on payments (customer_id, session_ref)
    where session_ref is not null;
create index payments_created on payments (created_at, id);
create index payments_due on payments (expires_at)
    where clock_id is null and state in ('pending', 'processing', 'requires_action');

-- What the customer sees and pays on; its secret guards the hosted pages.
create table checkouts (
    customer_id uuid not null,
    id uuid not null,
    payment_id uuid not null,
    secret text not null,
    email text,
    lines jsonb not null,
    success_url text,
    cancel_url text,
    verify_attempts integer not null default 0,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    primary key (customer_id, id),
    foreign key (customer_id, payment_id) references payments (customer_id, id)
);
create index checkouts_payment on checkouts (customer_id, payment_id);

-- One try to pay, at one provider. ended_at is when the provider can no longer take money for it.
create table attempts (
    customer_id uuid not null,
    id uuid not null,
    payment_id uuid not null,
    call_id uuid,
    provider text not null,
    provider_account text not null default '',
    state text not null check (state in ('open', 'succeeded', 'failed', 'expired', 'canceled')),
    session_ref text,
    provider_payment_ref text,
    url text,
    method text,
    error_code text,
    error_message text,
    expires_at timestamptz,
    ended_at timestamptz,
    clock_id uuid,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    primary key (customer_id, id),
    foreign key (customer_id, payment_id) references payments (customer_id, id)
);
create index attempts_payment on attempts (customer_id, payment_id, created_at);
create index attempts_due on attempts (expires_at) where ended_at is null and clock_id is null;

-- The provider's own customer for ours.
create table provider_customers (
    customer_id uuid not null,
    provider text not null,
    account text not null default '',
    ref text not null,
    created_at timestamptz not null default now(),
    primary key (customer_id, provider, account)
);

-- An intention towards a provider. The id is the provider's idempotency key; try_at is the lease.
create table provider_calls (
    customer_id uuid not null,
    id uuid not null,
    payment_id uuid,
    attempt_id uuid,
    action text not null,
    amount_minor bigint,
    currency text,
    request jsonb not null,
    state text not null check (state in ('intended', 'unknown', 'done', 'refused')),
    first_sent_at timestamptz,
    try_at timestamptz not null,
    tries smallint not null default 0,
    result jsonb,
    error text,
    clock_id uuid,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    primary key (customer_id, id),
    foreign key (customer_id, payment_id) references payments (customer_id, id)
);
create index provider_calls_due on provider_calls (try_at) where state in ('intended', 'unknown');
create index provider_calls_payment on provider_calls (customer_id, payment_id);

-- One handing over per (payment, purpose). path: who did it (webhook, verify, success_page, sweep,
-- admin). done exactly when the goods' ledger transaction is posted.
create table fulfillments (
    customer_id uuid not null,
    payment_id uuid not null,
    purpose text not null,
    state text not null check (state in ('due', 'done', 'blocked', 'reversed')),
    path text not null,
    txn_id uuid,
    error_code text,
    error text,
    tries smallint not null default 0,
    try_at timestamptz,
    done_at timestamptz,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    primary key (customer_id, payment_id, purpose),
    check ((state in ('done', 'reversed')) = (txn_id is not null))
);
create index fulfillments_due on fulfillments (try_at) where state = 'due';
create index fulfillments_blocked on fulfillments (created_at) where state = 'blocked';

-- Provider's references to our objects; keyed by the reference, inserted once.
create table provider_refs (
    provider text not null,
    account text not null,
    ref text not null,
    customer_id uuid not null,
    object_id uuid not null,
    primary key (provider, account, ref)
);

-- The inbox. The body never changes; the row is committed before it is applied.
create table provider_events (
    provider text not null,
    account text not null,
    event_id text not null,
    type text not null,
    ref text,
    body text not null,
    state text not null check (state in ('new', 'waiting', 'done', 'parked')),
    tries smallint not null default 0,
    try_at timestamptz not null,
    deliveries integer not null default 1,
    customer_id uuid,
    subject_id uuid,
    error text,
    received_at timestamptz not null default now(),
    applied_at timestamptz,
    primary key (provider, account, event_id)
);
create index provider_events_due on provider_events (try_at) where state in ('new', 'waiting');
create index provider_events_parked on provider_events (received_at) where state = 'parked';

-- Events ----------------------------------------------------------------------------------------

create table events (
    customer_id uuid not null,
    seq bigint not null,
    id uuid not null,
    type text not null,
    subject_id uuid not null,
    data jsonb,
    cause jsonb,
    created_at timestamptz not null default now(),
    primary key (customer_id, seq)
);
create index events_subject on events (customer_id, subject_id, seq);
create index events_created on events using brin (created_at);

-- Present whenever a feed is behind the customer's last event.
create table news (
    customer_id uuid primary key
);
-- seq only grows. try_at: when a sink with handlers has something to do, and its lease.
create table feeds (
    customer_id uuid not null,
    sink text not null,
    seq bigint not null,
    try_at timestamptz,
    primary key (customer_id, sink)
) with (fillfactor = 50);
create index feeds_due on feeds (sink, try_at) where try_at is not null;

-- Sinks that keep a place of their own: the applications' handlers.
create table sinks (
    name text primary key check (length(name) between 1 and 100),
    created_at timestamptz not null default now()
);

-- Events that a handler failed on: tried again, then parked where people see them.
create table deliveries (
    customer_id uuid not null,
    sink text not null,
    seq bigint not null,
    state text not null check (state in ('waiting', 'parked', 'done')),
    tries smallint not null default 1,
    try_at timestamptz not null,
    error text,
    created_at timestamptz not null default now(),
    primary key (customer_id, sink, seq)
);
create index deliveries_due on deliveries (sink, try_at) where state = 'waiting';
create index deliveries_parked on deliveries (created_at) where state = 'parked';

-- Answers of idempotent requests: a cache of 24 hours; the truth is the row that a key made.
create table answers (
    customer_id uuid not null,
    request_key uuid not null,
    request_hash bytea not null,
    status smallint not null,
    body text not null,
    headers jsonb,
    expires_at timestamptz not null,
    primary key (customer_id, request_key)
);
create index answers_due on answers (expires_at);

-- The catalogue and promo codes -----------------------------------------------------------------

create table packs (
    id uuid primary key,
    key text not null unique check (length(key) between 1 and 100),
    name text not null check (length(name) between 1 and 255),
    description text,
    credits bigint not null check (credits > 0),
    price_minor bigint not null check (price_minor > 0),
    currency text not null check (currency = lower(currency) and length(currency) = 3),
    expires_days integer check (expires_days > 0),
    active boolean not null default true,
    position integer not null default 0,
    metadata jsonb not null default '{}',
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now()
);

-- code_norm is what codes are compared by. packs: keys of the packs it is for, null for all.
create table promos (
    id uuid primary key,
    code text not null check (length(code) between 1 and 64),
    code_norm text not null unique,
    kind text not null check (kind in ('percent', 'fixed', 'bonus_credits')),
    percent_off integer check (percent_off between 1 and 100),
    amount_off_minor bigint check (amount_off_minor > 0),
    currency text,
    bonus_credits bigint check (bonus_credits > 0),
    cap bigint check (cap > 0),
    per_customer bigint check (per_customer > 0),
    min_purchase_minor bigint check (min_purchase_minor > 0),
    packs text[],
    first_purchase boolean not null default false,
    customers text[],
    match_metadata jsonb,
    starts_at timestamptz,
    expires_at timestamptz,
    active boolean not null default true,
    metadata jsonb not null default '{}',
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    check (kind <> 'percent' or percent_off is not null),
    check (kind <> 'fixed' or (amount_off_minor is not null and currency is not null)),
    check (kind <> 'bonus_credits' or bonus_credits is not null)
);

create table promo_counts (
    promo_id uuid primary key,
    used bigint not null default 0 check (used >= 0)
) with (fillfactor = 50);
create table promo_uses (
    promo_id uuid not null,
    payment_id uuid not null,
    customer_id uuid not null,
    state text not null check (state in ('reserved', 'used', 'released')),
    bonus_credits bigint not null default 0 check (bonus_credits >= 0),
    created_at timestamptz not null default now(),
    released_at timestamptz,
    primary key (promo_id, payment_id)
);
create index promo_uses_customer on promo_uses (promo_id, customer_id);
create index promo_uses_reserved on promo_uses (created_at) where state = 'reserved';

-- A code applied ahead of its checkout: the next checkout of `product` becomes payment_id.
create table promo_reservations (
    customer_id uuid not null,
    product text not null,
    promo_id uuid not null,
    payment_id uuid not null,
    expires_at timestamptz not null,
    created_at timestamptz not null default now(),
    primary key (customer_id, product)
);
create index promo_reservations_due on promo_reservations (expires_at);

-- Who may, and how often ------------------------------------------------------------------------

create table api_keys (
    id uuid primary key,
    name text not null,
    hint text not null,
    key_hash bytea not null unique,
    role text not null check (role in ('service', 'admin', 'finance', 'support')),
    created_at timestamptz not null default now(),
    expires_at timestamptz,
    revoked_at timestamptz
);
create table revoked_tokens (
    jti text primary key,
    expires_at timestamptz not null
);
create table rate_windows (
    bucket text not null,
    window_at timestamptz not null,
    used bigint not null,
    primary key (bucket, window_at)
);
create table heartbeats (
    name text primary key,
    beat_at timestamptz not null
);

-- Guards and privileges -------------------------------------------------------------------------

create function refuse_change() returns trigger language plpgsql as $$
begin
    raise exception '% is append-only: % is refused', tg_table_name, tg_op
        using errcode = 'insufficient_privilege';
end $$;

create trigger transfers_append_only before update or delete on transfers
    for each row execute function refuse_change();
create trigger transfers_no_truncate before truncate on transfers
    for each statement execute function refuse_change();
create trigger draws_append_only before update or delete on draws
    for each row execute function refuse_change();
create trigger draws_no_truncate before truncate on draws
    for each statement execute function refuse_change();
create trigger events_append_only before update or delete on events
    for each row execute function refuse_change();
create trigger events_no_truncate before truncate on events
    for each statement execute function refuse_change();

create function touch_updated_at() returns trigger language plpgsql as $$
begin
    new.updated_at := now();
    return new;
end $$;

create trigger customers_touch before update on customers
    for each row execute function touch_updated_at();
create trigger checkouts_touch before update on checkouts
    for each row execute function touch_updated_at();
create trigger attempts_touch before update on attempts
    for each row execute function touch_updated_at();
create trigger provider_calls_touch before update on provider_calls
    for each row execute function touch_updated_at();
create trigger fulfillments_touch before update on fulfillments
    for each row execute function touch_updated_at();
create trigger payments_touch before update on payments
    for each row execute function touch_updated_at();
create trigger packs_touch before update on packs
    for each row execute function touch_updated_at();
create trigger promos_touch before update on promos
    for each row execute function touch_updated_at();

grant usage on schema public to paydesk_app;
grant select, insert, update, delete on all tables in schema public to paydesk_app;
revoke update, delete, truncate on transfers, draws, events from paydesk_app;
alter default privileges in schema public grant select, insert, update, delete on tables
    to paydesk_app;
alter default privileges in schema public grant execute on functions to paydesk_app;
