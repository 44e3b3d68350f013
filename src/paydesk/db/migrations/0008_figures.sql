-- no transaction
-- Figures by day of the business's time zone, computed from the rows that they count; they can be
-- deleted and computed anew at any time. A day's rows are replaced together.

-- One row: the time zone of the days, the first one computed, the first one not computed yet, and
-- since when changes of computed days are watched.
create table if not exists figure_state (
    is_only boolean primary key default true check (is_only),
    time_zone text not null,
    covered_from date not null,
    covered_until date not null,
    started_at timestamptz not null default now()
);
-- Days whose rows changed after they had been computed.
create table if not exists figure_dirty (
    day date primary key
);
-- Up to where a customer's postings are known to the days.
create table if not exists figure_marks (
    customer_id uuid primary key,
    entry_seq bigint not null
) with (fillfactor = 70);

-- Payments by the day on which they were made. reason: why a failed one failed.
create table if not exists figure_payments (
    day date not null,
    state text not null,
    provider text not null,
    method text not null,
    country text not null,
    currency text not null,
    purpose text not null,
    reason text not null,
    payments bigint not null,
    asked bigint not null,
    captured bigint not null,
    refunded bigint not null,
    discount bigint not null,
    usd bigint not null,
    unrated bigint not null,
    credits bigint not null,
    disputed bigint not null,
    primary key (day, state, provider, method, country, currency, purpose, reason)
);
-- Tries by the day on which their payment was made.
create table if not exists figure_attempts (
    day date not null,
    state text not null,
    provider text not null,
    method text not null,
    country text not null,
    currency text not null,
    purpose text not null,
    reason text not null,
    attempts bigint not null,
    primary key (day, state, provider, method, country, currency, purpose, reason)
);
-- Postings by the day on which they took effect, with the way of the payment that they are of.
create table if not exists figure_books (
    day date not null,
    asset text not null,
    reason text not null,
    debit smallint not null,
    credit smallint not null,
    provider text not null,
    method text not null,
    country text not null,
    purpose text not null,
    postings bigint not null,
    amount bigint not null,
    usd bigint not null,
    unrated bigint not null,
    primary key (day, asset, reason, debit, credit, provider, method, country, purpose)
);
-- What was sold, by the day on which its payment was made; only what was paid.
create table if not exists figure_goods (
    day date not null,
    purpose text not null,
    product text not null,
    promo text not null,
    currency text not null,
    sold bigint not null,
    captured bigint not null,
    refunded bigint not null,
    discount bigint not null,
    usd bigint not null,
    unrated bigint not null,
    credits bigint not null,
    bonus bigint not null,
    primary key (day, purpose, product, promo, currency)
);

-- The publisher marks whose events the days do not know yet.
insert into sinks (name) values ('figures') on conflict do nothing;

-- Block ranges: next to nothing for the writers, and a day's rows lie together.
drop index concurrently if exists transfers_effective;
create index concurrently transfers_effective on transfers using brin (effective_at)
    with (pages_per_range = 32, autosummarize = on);
drop index concurrently if exists risk_assessments_created;
create index concurrently risk_assessments_created on risk_assessments using brin (created_at)
    with (pages_per_range = 32, autosummarize = on);
