-- no transaction
-- Credits and wallets that are filled again by themselves, and reminders of what a person pays.

-- One row for a customer and what is filled (`credits`, or `wallet:usd`). One of pack, credits and
-- amount_minor says what is bought. number: refills begun, of which each payment's key is made, so
-- that each is charged once. payment_id: the one under way. woken: something happened to the
-- customer since it was looked at last, which was at seen_seq of his events. due_at: when it is
-- looked at in any case. retry_at: before it nothing is charged after a failure.
create table if not exists refills (
    customer_id uuid not null,
    id uuid not null,
    what text not null check (length(what) <= 40),
    asset text not null,
    threshold bigint not null check (threshold > 0),
    pack text check (length(pack) <= 100),
    credits bigint check (credits > 0),
    amount_minor bigint check (amount_minor > 0),
    method_id uuid,
    day_count integer not null check (day_count between 1 and 100),
    month_count integer not null check (month_count between 1 and 1000),
    day_minor bigint check (day_minor > 0),
    month_minor bigint check (month_minor > 0),
    pause_after integer not null check (pause_after between 1 and 10),
    state text not null default 'active' check (state in ('active', 'paused', 'off')),
    pause_reason text,
    number integer not null default 0,
    payment_id uuid,
    failures integer not null default 0,
    error_code text,
    retry_at timestamptz,
    last_at timestamptz,
    woken boolean not null default true,
    seen_seq bigint not null default -1,
    due_at timestamptz not null,
    set_by text,
    clock_id uuid,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    primary key (customer_id, id),
    unique (customer_id, what),
    check (num_nonnulls(pack, credits, amount_minor) = 1),
    check ((state = 'paused') = (pause_reason is not null))
) with (fillfactor = 70);
create index if not exists refills_woken on refills (customer_id)
    where woken and state = 'active' and clock_id is null;
create index if not exists refills_due on refills (due_at)
    where state = 'active' and clock_id is null;
create index if not exists refills_listed on refills (created_at, id);
drop trigger if exists refills_touch on refills;
create trigger refills_touch before update on refills
    for each row execute function touch_updated_at();

-- How often, and when last, a person was reminded of a payment or an invoice that waits for him.
create table if not exists reminders (
    customer_id uuid not null,
    object_id uuid not null,
    sent integer not null check (sent > 0),
    last_at timestamptz not null,
    primary key (customer_id, object_id)
) with (fillfactor = 70);

-- Invoices that wait to be paid.
drop index concurrently if exists invoices_open;
create index concurrently invoices_open on invoices (finalized_at)
    where state = 'open' and clock_id is null;
