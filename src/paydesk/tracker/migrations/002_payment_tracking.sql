-- Creates payment_transactions, or adds to an existing one what it lacks. May be run again.
-- Plain SQL for psql, the Supabase SQL editor and any driver. PostgreSQL 12 and later.

do $$
declare
    profile_key text;
begin
    -- A user is a row of user_profiles where that table exists, else whatever the application
    -- calls its users.
    select format_type(a.atttypid, a.atttypmod) into profile_key
    from pg_attribute a
    where a.attrelid = to_regclass('user_profiles') and a.attname = 'id' and not a.attisdropped;

    execute format(
        'create table if not exists payment_transactions (
            id uuid primary key,
            user_id %s,
            amount_cents integer not null,
            amount_usd decimal(10, 2),
            credits_to_add integer not null,
            status text not null,
            provider text not null,
            provider_session_id text,
            provider_payment_id text,
            package_id text,
            package_name text,
            credits_added boolean default false,
            credits_added_at timestamp,
            credit_transaction_id uuid,
            created_at timestamp default now(),
            updated_at timestamp default now(),
            completed_at timestamp,
            expires_at timestamp,
            error_message text,
            error_code text,
            metadata jsonb default ''{}''
        )',
        coalesce(profile_key || ' references user_profiles(id)', 'text')
    );
end
$$;

-- An older table may lack some of them. A column that exists is left as it is.
alter table payment_transactions
    add column if not exists amount_cents integer not null default 0,
    add column if not exists amount_usd decimal(10, 2),
    add column if not exists credits_to_add integer not null default 0,
    add column if not exists status text not null default 'pending',
    add column if not exists provider text not null default 'stripe',
    add column if not exists provider_session_id text,
    add column if not exists provider_payment_id text,
    add column if not exists package_id text,
    add column if not exists package_name text,
    add column if not exists credits_added boolean default false,
    add column if not exists credits_added_at timestamp,
    add column if not exists credit_transaction_id uuid,
    add column if not exists created_at timestamp default now(),
    add column if not exists updated_at timestamp default now(),
    add column if not exists completed_at timestamp,
    add column if not exists expires_at timestamp,
    add column if not exists error_message text,
    add column if not exists error_code text,
    add column if not exists metadata jsonb default '{}';

-- Ours: the finer state behind the status, the version that compare-and-set compares, the
-- currency, what was captured and given back in it, the lease of a grant, the status changes.
do $$
begin
    if not exists (
        select from pg_attribute
        where attrelid = 'payment_transactions'::regclass and attname = 'version'
          and not attisdropped
    ) then
        alter table payment_transactions
            add column if not exists currency text not null default 'usd',
            add column if not exists captured_cents bigint not null default 0,
            add column if not exists refunded_cents bigint not null default 0;
        -- An older application completed a payment with its whole amount.
        update payment_transactions
        set captured_cents = amount_cents,
            refunded_cents = case when status = 'refunded' then amount_cents else 0 end
        where status in ('completed', 'refunded', 'partially_refunded');
    end if;
end
$$;

alter table payment_transactions
    add column if not exists state text,
    add column if not exists version integer not null default 0,
    add column if not exists claim_expires_at timestamptz,
    add column if not exists status_history jsonb not null default '[]';

create index if not exists payment_transactions_user
    on payment_transactions (user_id, created_at);
create index if not exists payment_transactions_expiry
    on payment_transactions (expires_at) where status = 'pending';
create index if not exists payment_transactions_claims
    on payment_transactions (claim_expires_at) where claim_expires_at is not null;

-- One payment for a session. An older table may hold doubles: then say so and go on.
do $$
begin
    if to_regclass('payment_transactions_session') is not null then
        return;
    end if;
    begin
        create unique index payment_transactions_session
            on payment_transactions (provider_session_id);
    exception when unique_violation then
        raise warning 'payment_transactions holds sessions twice; merge them, then run this again';
        create index if not exists payment_transactions_session_search
            on payment_transactions (provider_session_id);
    end;
end
$$;
