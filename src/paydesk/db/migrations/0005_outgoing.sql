-- What goes out: webhooks to applications' endpoints, and mails.

-- An application's address for webhooks. Secrets are sealed with a key from the settings.
-- failing_since: since when nothing got through; null after a success.
create table webhook_endpoints (
    id uuid primary key,
    url text not null check (length(url) between 1 and 2048),
    description text check (length(description) <= 255),
    events text[] not null check (cardinality(events) between 1 and 100),
    state text not null check (state in ('enabled', 'paused', 'disabled', 'deleted')),
    disabled_reason text check (disabled_reason in ('gone', 'failing')),
    disabled_at timestamptz,
    failing_since timestamptz,
    secret bytea not null,
    previous_secret bytea,
    previous_until timestamptz,
    metadata jsonb not null default '{}',
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    check ((previous_secret is null) = (previous_until is null)),
    check (state <> 'disabled' or disabled_reason is not null)
);
create trigger webhook_endpoints_touch before update on webhook_endpoints
    for each row execute function touch_updated_at();

-- One event for one endpoint. held: an earlier event of the customer is tried first. try_at is also
-- the lease while it is sent. aside: it failed twice and holds up nobody any more.
create table webhook_deliveries (
    customer_id uuid not null,
    id uuid not null,
    endpoint_id uuid not null,
    seq bigint not null,
    event_type text not null,
    state text not null check (state in ('held', 'waiting', 'done', 'parked')),
    aside boolean not null default false,
    tries smallint not null default 0,
    try_at timestamptz not null,
    status smallint,
    error text check (length(error) <= 500),
    done_at timestamptz,
    created_at timestamptz not null,
    primary key (customer_id, id)
) with (fillfactor = 70);
create unique index webhook_deliveries_event on webhook_deliveries (customer_id, endpoint_id, seq);
create index webhook_deliveries_due on webhook_deliveries (endpoint_id, try_at)
    where state = 'waiting';
create index webhook_deliveries_open on webhook_deliveries (customer_id, endpoint_id, seq)
    where state in ('held', 'waiting');
create index webhook_deliveries_listed on webhook_deliveries (endpoint_id, created_at, id);
create index webhook_deliveries_parked on webhook_deliveries (created_at) where state = 'parked';
create index webhook_deliveries_old on webhook_deliveries using brin (created_at);

-- Every call: when, how long, what came back. The body sent follows from the event.
create table webhook_attempts (
    customer_id uuid not null,
    id uuid not null,
    delivery_id uuid not null,
    sent_at timestamptz not null,
    duration_ms integer not null,
    status smallint,
    error text check (length(error) <= 500),
    response text check (length(response) <= 4096),
    primary key (customer_id, id),
    foreign key (customer_id, delivery_id) references webhook_deliveries (customer_id, id)
);
create index webhook_attempts_delivery on webhook_attempts (customer_id, delivery_id, sent_at);

-- A mail to a customer or to staff. dedupe: what it is about, so that it is written once. data: the
-- facts it shows, gathered once before the first sending. kept: there is no mail server.
create table notifications (
    customer_id uuid not null,
    id uuid not null,
    kind text not null check (length(kind) <= 40),
    dedupe text not null check (length(dedupe) <= 100),
    seq bigint,
    is_staff boolean not null default false,
    recipient text check (length(recipient) <= 2000),
    locale text,
    data jsonb,
    state text not null check (state in ('waiting', 'sent', 'kept', 'skipped', 'parked')),
    tries smallint not null default 0,
    try_at timestamptz not null,
    error text check (length(error) <= 500),
    sent_at timestamptz,
    created_at timestamptz not null,
    updated_at timestamptz not null default now(),
    primary key (customer_id, id)
) with (fillfactor = 70);
create unique index notifications_once on notifications (customer_id, kind, dedupe);
create index notifications_due on notifications (try_at) where state = 'waiting';
create index notifications_listed on notifications (created_at, id);
create trigger notifications_touch before update on notifications
    for each row execute function touch_updated_at();
