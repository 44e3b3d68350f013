-- no transaction
-- A provider's own clocks, by which it moves the subscriptions that it runs: they follow ours.
-- customers: who stands on it there, at most three. Written before the provider is asked: began_at
-- never changes, so that a repeat is the same request; ref is its id there once that is known.
-- now_at: how far it was moved there. gone_at: the provider has it no more.
create table if not exists provider_clocks (
    clock_id uuid not null references clocks (id),
    provider text not null,
    account text not null default '',
    number integer not null check (number > 0),
    customers uuid[] not null check (cardinality(customers) between 1 and 3),
    began_at timestamptz not null,
    now_at timestamptz not null,
    ref text,
    gone_at timestamptz,
    created_at timestamptz not null default now(),
    primary key (clock_id, provider, account, number)
);

-- The provider's clock that its customer was made for; null: everybody's time.
alter table provider_customers add column if not exists test_clock text;
