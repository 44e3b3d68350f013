-- Sums over the days' figures, so that a report over years reads as few rows as one over days.

-- grain: of a day, or of a month of the business's time zone. Narrow rows are added up over the
-- dimensions that most questions do not ask for, which are empty in them. A bucket's rows are
-- replaced together, and can be made anew from the days' tables at any time.
create table if not exists figure_payments_sums (
    grain text not null check (grain in ('day', 'month')),
    is_narrow boolean not null,
    bucket date not null,
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
    primary key (grain, is_narrow, bucket, state, provider, method, country, currency, purpose,
        reason)
);
create table if not exists figure_attempts_sums (
    grain text not null check (grain in ('day', 'month')),
    is_narrow boolean not null,
    bucket date not null,
    state text not null,
    provider text not null,
    method text not null,
    country text not null,
    currency text not null,
    purpose text not null,
    reason text not null,
    attempts bigint not null,
    primary key (grain, is_narrow, bucket, state, provider, method, country, currency, purpose,
        reason)
);
create table if not exists figure_books_sums (
    grain text not null check (grain in ('day', 'month')),
    is_narrow boolean not null,
    bucket date not null,
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
    primary key (grain, is_narrow, bucket, asset, reason, debit, credit, provider, method, country,
        purpose)
);
create table if not exists figure_goods_sums (
    grain text not null check (grain in ('day', 'month')),
    is_narrow boolean not null,
    bucket date not null,
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
    primary key (grain, is_narrow, bucket, purpose, product, promo, currency)
);

-- The days and months whose sums are right. A day that is counted anew takes its month out, until
-- that is added up again. Empty at first: the worker fills it, as does `paydesk report rebuild
-- --catch-up`, and what is not in it is read from the days.
create table if not exists figure_summed (
    grain text not null check (grain in ('day', 'month')),
    bucket date not null,
    primary key (grain, bucket)
);
