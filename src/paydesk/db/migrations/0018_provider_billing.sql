-- no transaction
-- Subscriptions that a provider bills: which prices stand for which plans, and when we look there.

-- A price at a provider and the terms that it sells. own: made by this desk for new subscriptions,
-- one for each version and currency; others were found on subscriptions begun elsewhere.
create table if not exists plan_prices (
    provider text not null,
    account text not null default '',
    price_ref text not null,
    product_ref text not null,
    plan_id uuid not null,
    plan_version integer not null,
    currency text not null,
    own boolean not null,
    created_at timestamptz not null default now(),
    primary key (provider, account, price_ref)
);
create unique index if not exists plan_prices_own
    on plan_prices (provider, account, plan_id, plan_version, currency) where own;

-- When a subscription that the provider runs is looked at there without being asked to.
alter table subscriptions add column if not exists look_at timestamptz;
create index concurrently if not exists subscriptions_look on subscriptions (look_at)
    where look_at is not null;
