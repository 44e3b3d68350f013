-- Every way to pay and every way back: methods, goods, wallets, holds, refunds, disputes, risk,
-- staff, reconciliation. Owned tables begin their key with customer_id.

-- More of the books ------------------------------------------------------------------------------

-- 13 refunds (on their way back) 14 disputes (withheld by a provider) 15 losses 16 fees (kept by a
-- provider) 17 exchange (between currencies).
alter table accounts drop constraint accounts_code_check;
alter table accounts add constraint accounts_code_check check (code between 1 and 17) not valid;
alter table accounts validate constraint accounts_code_check;

-- More of a payment ------------------------------------------------------------------------------

-- terms: what the payment buys, as it was priced. usd_minor at rate_id: worth on the day it was
-- made. fee_minor: what the provider kept. disputed: a dispute stands open or was lost.
alter table payments
    add column payment_type text,
    add column service_id uuid,
    add column terms jsonb,
    add column method_id uuid,
    add column method_detail jsonb,
    add column country text,
    add column usd_minor bigint,
    add column rate_id uuid,
    add column fee_minor bigint,
    add column disputed boolean not null default false,
    add column risk_score smallint,
    add column deleted_at timestamptz;

-- response: the provider's last answer about this try, without secrets. action_url: what the payer
-- has to open.
alter table attempts
    add column response jsonb,
    add column action_url text,
    add column method_id uuid;

create index customers_email on customers (lower(email)) where email is not null;
-- Events of a provider's customer lead back to ours by its reference.
insert into provider_refs (provider, account, ref, customer_id, object_id)
    select provider, account, ref, customer_id, customer_id from provider_customers
    on conflict do nothing;

alter table provider_calls add column subject_id uuid;
create index provider_calls_subject on provider_calls (customer_id, subject_id)
    where subject_id is not null;

-- Saved methods ----------------------------------------------------------------------------------

-- Nothing but the provider's token and what people recognize a method by.
create table payment_methods (
    customer_id uuid not null,
    id uuid not null,
    provider text not null,
    provider_account text not null default '',
    ref text not null,
    kind text not null,
    brand text,
    last4 text check (last4 ~ '^[0-9A-Za-z]{1,4}$'),
    exp_month smallint check (exp_month between 1 and 12),
    exp_year smallint check (exp_year between 2000 and 2200),
    country text,
    wallet text,
    fingerprint text,
    is_default boolean not null default false,
    metadata jsonb not null default '{}',
    detached_at timestamptz,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    primary key (customer_id, id),
    unique (customer_id, provider, provider_account, ref)
);
create index payment_methods_fingerprint on payment_methods (fingerprint)
    where fingerprint is not null;
create unique index payment_methods_default on payment_methods (customer_id)
    where is_default and detached_at is null;

create table setups (
    customer_id uuid not null,
    id uuid not null,
    provider text not null,
    provider_account text not null default '',
    ref text,
    state text not null check (state in ('pending', 'requires_action', 'succeeded', 'failed',
        'canceled')),
    method_id uuid,
    url text,
    make_default boolean not null default false,
    error_code text,
    error_message text,
    metadata jsonb not null default '{}',
    request_key uuid not null,
    request_hash bytea not null,
    expires_at timestamptz,
    clock_id uuid,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    primary key (customer_id, id),
    unique (customer_id, request_key)
);
create index setups_due on setups (expires_at)
    where clock_id is null and state in ('pending', 'requires_action');

-- Items, services, access ------------------------------------------------------------------------

-- kind: item is sold once or many times, service runs for duration_months. rules: dynamic pricing.
-- grants: resources that a purchase gives access to, as {type, id, days}.
create table items (
    id uuid primary key,
    key text not null unique check (length(key) between 1 and 100),
    kind text not null default 'item' check (kind in ('item', 'service')),
    name text not null check (length(name) between 1 and 255),
    description text,
    price_minor bigint not null check (price_minor > 0),
    currency text not null check (currency = lower(currency) and length(currency) = 3),
    repeatable boolean not null default false,
    most_quantity integer not null default 1 check (most_quantity > 0),
    duration_months integer check (duration_months > 0),
    access_days integer check (access_days > 0),
    grants jsonb not null default '[]',
    rules jsonb not null default '[]',
    active boolean not null default true,
    position integer not null default 0,
    metadata jsonb not null default '{}',
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now()
);

create table purchases (
    customer_id uuid not null,
    id uuid not null,
    item_id uuid not null,
    item_key text not null,
    name text not null,
    quantity integer not null default 1 check (quantity > 0),
    repeatable boolean not null,
    payment_id uuid not null,
    state text not null check (state in ('pending', 'completed', 'failed', 'canceled', 'refunded')),
    price_minor bigint not null check (price_minor >= 0),
    currency text not null,
    pricing jsonb not null default '[]',
    completed_at timestamptz,
    refunded_at timestamptz,
    -- What took it back: refunds and disputes. It is given back when the last of them is undone.
    taken_by uuid[] not null default '{}',
    clock_id uuid,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    primary key (customer_id, id),
    foreign key (customer_id, payment_id) references payments (customer_id, id)
);
create unique index purchases_once on purchases (customer_id, item_key)
    where not repeatable and state = 'completed';
create index purchases_payment on purchases (customer_id, payment_id);

-- The services family's record: made inactive, activated by its payment.
create table customer_services (
    customer_id uuid not null,
    id uuid not null,
    service_type text not null,
    item_id uuid,
    state text not null check (state in ('pending', 'active', 'ended', 'canceled')),
    duration_months integer not null check (duration_months > 0),
    fee_minor bigint not null check (fee_minor >= 0),
    currency text not null,
    payment_id uuid,
    starts_at timestamptz,
    expires_at timestamptz,
    activated_at timestamptz,
    ended_at timestamptz,
    end_reason text,
    taken_by uuid[] not null default '{}',
    metadata jsonb not null default '{}',
    clock_id uuid,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    primary key (customer_id, id)
);
create unique index customer_services_once on customer_services (customer_id, service_type)
    where state = 'active';
create index customer_services_due on customer_services (expires_at)
    where state = 'active' and clock_id is null;
create index customer_services_payment on customer_services (customer_id, payment_id)
    where payment_id is not null;

-- Access at an instant is a pure function of these two. A grant never changes; what takes it away,
-- and perhaps gives it back, is a row of its own.
create table access_grants (
    customer_id uuid not null,
    id uuid not null,
    resource_type text not null check (length(resource_type) between 1 and 64),
    resource_id text not null check (length(resource_id) between 1 and 255),
    source text not null check (source in ('purchase', 'service', 'subscription', 'payment',
        'admin')),
    source_id uuid,
    payment_id uuid,
    starts_at timestamptz not null,
    expires_at timestamptz not null default 'infinity',
    reason text,
    granted_by text,
    request_key uuid,
    -- When its end was told of; the end itself is expires_at.
    ended_at timestamptz,
    clock_id uuid,
    created_at timestamptz not null default now(),
    primary key (customer_id, id),
    check (expires_at > starts_at)
);
create index access_grants_resource on access_grants (customer_id, resource_type, resource_id);
create index access_grants_payment on access_grants (customer_id, payment_id)
    where payment_id is not null;
create unique index access_grants_key on access_grants (customer_id, request_key)
    where request_key is not null;
create index access_grants_due on access_grants (expires_at)
    where clock_id is null and ended_at is null and expires_at < 'infinity';
create table access_revocations (
    customer_id uuid not null,
    id uuid not null,
    grant_id uuid not null,
    cause text not null check (cause in ('refund', 'dispute', 'cancellation', 'service', 'admin')),
    cause_id uuid,
    reason text,
    revoked_by text,
    revoked_at timestamptz not null,
    reinstated_at timestamptz,
    reinstated_by text,
    created_at timestamptz not null default now(),
    primary key (customer_id, id),
    foreign key (customer_id, grant_id) references access_grants (customer_id, id)
);
create index access_revocations_grant on access_revocations (customer_id, grant_id);
create index access_revocations_cause on access_revocations (customer_id, cause_id)
    where cause_id is not null;

-- Wallets and holds ------------------------------------------------------------------------------

-- One unit of base is worth rate units of quote, as `source` said at that time.
create table rates (
    id uuid primary key,
    base text not null,
    quote text not null,
    rate numeric(30, 12) not null check (rate > 0),
    source text not null,
    at timestamptz not null,
    entered_by text,
    created_at timestamptz not null default now(),
    unique (base, quote, source, at)
);
create index rates_latest on rates (base, quote, at desc);
create index rates_recent on rates (at, id);

create table wallets (
    customer_id uuid not null,
    id uuid not null,
    currency text not null check (currency = lower(currency) and length(currency) = 3),
    state text not null default 'open' check (state in ('open', 'frozen', 'closed')),
    metadata jsonb not null default '{}',
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    primary key (customer_id, id),
    unique (customer_id, currency)
);

create table conversions (
    customer_id uuid not null,
    id uuid not null,
    rate_id uuid not null,
    is_inverse boolean not null default false,
    from_currency text not null,
    from_minor bigint not null check (from_minor > 0),
    to_currency text not null,
    to_minor bigint not null check (to_minor >= 0),
    rounding_minor bigint not null default 0,
    txn_id uuid not null,
    request_key uuid not null,
    request_hash bytea not null,
    created_at timestamptz not null default now(),
    primary key (customer_id, id),
    unique (customer_id, request_key)
);

-- Money on its way out of a wallet, reserved from the request on.
create table withdrawals (
    customer_id uuid not null,
    id uuid not null,
    currency text not null,
    amount_minor bigint not null check (amount_minor > 0),
    state text not null check (state in ('requested', 'approved', 'paid', 'rejected', 'canceled')),
    destination text not null,
    requested_by text,
    decided_by text,
    decided_at timestamptz,
    decision_note text,
    paid_reference text,
    paid_at timestamptz,
    hold_txn_id uuid not null,
    txn_id uuid,
    request_key uuid not null,
    request_hash bytea not null,
    metadata jsonb not null default '{}',
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    primary key (customer_id, id),
    unique (customer_id, request_key)
);
create index withdrawals_open on withdrawals (created_at) where state in ('requested', 'approved');
create index withdrawals_created on withdrawals (created_at, id);

-- Credits or wallet money set aside. asset: CREDIT or a currency. Closes once; transfer_id set it
-- aside, its draws name the batches.
create table holds (
    customer_id uuid not null,
    id uuid not null,
    asset text not null,
    transfer_id uuid not null,
    amount bigint not null check (amount > 0),
    captured bigint not null default 0,
    state text not null check (state in ('open', 'closed')),
    ended_by text check (ended_by in ('capture', 'release', 'expiry')),
    capture_txn_id uuid,
    release_txn_id uuid,
    reason text,
    reference text,
    metadata jsonb not null default '{}',
    expires_at timestamptz not null,
    closed_at timestamptz,
    clock_id uuid,
    request_key uuid not null,
    request_hash bytea not null,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    primary key (customer_id, id),
    unique (customer_id, request_key),
    check (captured between 0 and amount)
);
create index holds_due on holds (expires_at) where state = 'open' and clock_id is null;
create index holds_open on holds (customer_id, created_at) where state = 'open';

-- The ways back ----------------------------------------------------------------------------------

-- pending and succeeded ones together are the payment's refunded sum. requested waits for another
-- person; origin says who began it: us, or the provider (made in its dashboard).
create table refunds (
    customer_id uuid not null,
    id uuid not null,
    payment_id uuid not null,
    amount_minor bigint not null check (amount_minor > 0),
    currency text not null,
    state text not null check (state in ('requested', 'rejected', 'pending', 'succeeded', 'failed',
        'canceled')),
    origin text not null default 'desk' check (origin in ('desk', 'provider')),
    reason text,
    note text,
    forced boolean not null default false,
    provider text not null,
    provider_account text not null default '',
    provider_ref text,
    call_id uuid,
    requested_by text,
    decided_by text,
    decided_at timestamptz,
    decision_note text,
    loss_minor bigint not null default 0 check (loss_minor >= 0),
    txn_id uuid,
    reversal_txn_id uuid,
    error_code text,
    error_message text,
    metadata jsonb not null default '{}',
    succeeded_at timestamptz,
    failed_at timestamptz,
    clock_id uuid,
    request_key uuid not null,
    request_hash bytea not null,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    primary key (customer_id, id),
    unique (customer_id, request_key),
    foreign key (customer_id, payment_id) references payments (customer_id, id)
);
create index refunds_payment on refunds (customer_id, payment_id, created_at);
create unique index refunds_ref on refunds (customer_id, provider, provider_account, provider_ref)
    where provider_ref is not null;
create index refunds_created on refunds (created_at, id);
create index refunds_requested on refunds (created_at) where state = 'requested';
create index refunds_pending on refunds (updated_at) where state = 'pending' and clock_id is null;

-- withdrawn and reinstated only grow; loss is what of the difference no captured money covers.
-- postings: which transfers withdrew it, from where, and how much of each came back.
create table disputes (
    customer_id uuid not null,
    id uuid not null,
    payment_id uuid not null,
    provider text not null,
    provider_account text not null default '',
    ref text not null,
    state text not null check (state in ('warning', 'needs_response', 'under_review', 'won', 'lost',
        'closed')),
    amount_minor bigint not null check (amount_minor > 0),
    currency text not null,
    reason text not null default '',
    due_at timestamptz,
    withdrawn_minor bigint not null default 0 check (withdrawn_minor >= 0),
    reinstated_minor bigint not null default 0 check (reinstated_minor >= 0),
    fee_minor bigint not null default 0 check (fee_minor >= 0),
    loss_minor bigint not null default 0 check (loss_minor >= 0),
    postings jsonb not null default '[]',
    evidence jsonb not null default '{}',
    submitted_at timestamptz,
    submissions smallint not null default 0,
    warned_at timestamptz,
    opened_at timestamptz not null,
    closed_at timestamptz,
    metadata jsonb not null default '{}',
    clock_id uuid,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    primary key (customer_id, id),
    unique (customer_id, provider, provider_account, ref),
    foreign key (customer_id, payment_id) references payments (customer_id, id),
    check (reinstated_minor <= withdrawn_minor)
);
create index disputes_payment on disputes (customer_id, payment_id);
create index disputes_created on disputes (created_at, id);
create index disputes_due on disputes (due_at) where state = 'needs_response' and clock_id is null;

-- content is kept until the provider has it.
create table dispute_files (
    customer_id uuid not null,
    id uuid not null,
    dispute_id uuid not null,
    evidence_field text not null,
    name text not null,
    content_type text not null,
    size integer not null check (size > 0),
    digest bytea not null,
    content bytea,
    ref text,
    uploaded_by text,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    primary key (customer_id, id),
    foreign key (customer_id, dispute_id) references disputes (customer_id, id)
);
create index dispute_files_dispute on dispute_files (customer_id, dispute_id);

-- What a refund or dispute took back of a payment's goods, a row for each kind of goods; another
-- where more of the same cause is covered later. asked = taken + owed + forgiven. What is given back later reverses the very transfers.
create table clawbacks (
    customer_id uuid not null,
    id uuid not null,
    payment_id uuid not null,
    cause text not null check (cause in ('refund', 'dispute')),
    cause_id uuid not null,
    goods text not null check (goods in ('credits', 'wallet', 'access', 'service', 'purchase')),
    asked bigint not null default 0 check (asked >= 0),
    taken bigint not null default 0 check (taken >= 0),
    owed bigint not null default 0 check (owed >= 0),
    forgiven bigint not null default 0 check (forgiven >= 0),
    txn_id uuid,
    detail jsonb not null default '{}',
    reversed_at timestamptz,
    reversal_txn_id uuid,
    created_at timestamptz not null default now(),
    primary key (customer_id, id),
    check (asked = taken + owed + forgiven)
);
create index clawbacks_cause on clawbacks (customer_id, cause_id);
create index clawbacks_payment on clawbacks (customer_id, payment_id);

-- Money that a person or a bank says has come ----------------------------------------------------

create table statement_lines (
    provider text not null,
    account text not null default '',
    line_ref text not null,
    booked_at timestamptz not null,
    amount_minor bigint not null check (amount_minor > 0),
    currency text not null,
    reference text,
    payer text,
    state text not null check (state in ('unmatched', 'matched', 'ignored')),
    customer_id uuid,
    payment_id uuid,
    problem text,
    decided_by text,
    import_name text,
    imported_by text,
    raw jsonb not null default '{}',
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    primary key (provider, account, line_ref)
);
create index payments_told on payments (provider, provider_payment_ref)
    where provider = 'natcash' and provider_payment_ref is not null;
create index statement_lines_open on statement_lines (created_at) where state = 'unmatched';

-- Reconciliation ---------------------------------------------------------------------------------

create table reconciliations (
    id uuid primary key,
    provider text not null,
    account text not null default '',
    since timestamptz not null,
    until timestamptz not null,
    state text not null check (state in ('running', 'done', 'stopped')),
    cursor jsonb not null default '{}',
    counts jsonb not null default '{}',
    is_dry boolean not null default true,
    started_by text,
    started_at timestamptz not null default now(),
    ended_at timestamptz,
    updated_at timestamptz not null default now()
);
create table drifts (
    reconciliation_id uuid not null,
    kind text not null check (kind in ('payment', 'refund', 'dispute', 'fee')),
    ref text not null,
    type text not null,
    customer_id uuid,
    object_id uuid,
    ours jsonb,
    theirs jsonb,
    state text not null default 'open' check (state in ('open', 'fixed', 'manual', 'gone')),
    error text,
    fixed_by text,
    fixed_at timestamptz,
    created_at timestamptz not null default now(),
    primary key (reconciliation_id, kind, ref)
);
-- What the provider listed, while a run goes on: what of ours is not among it is missing there.
create table reconciliation_refs (
    reconciliation_id uuid not null,
    kind text not null,
    ref text not null,
    primary key (reconciliation_id, kind, ref)
);
create index drifts_open on drifts (created_at) where state in ('open', 'manual');

-- Risk -------------------------------------------------------------------------------------------

create table risk_assessments (
    customer_id uuid not null,
    id uuid not null,
    payment_id uuid,
    score smallint not null check (score between 0 and 100),
    decision text not null check (decision in ('allow', 'review', 'block')),
    reasons jsonb not null default '[]',
    features jsonb not null default '{}',
    reviewed_by text,
    reviewed_at timestamptz,
    review_note text,
    verdict text check (verdict in ('accepted', 'refused')),
    created_at timestamptz not null default now(),
    primary key (customer_id, id)
);
create index risk_assessments_payment on risk_assessments (customer_id, payment_id)
    where payment_id is not null;
create index risk_assessments_queue on risk_assessments (created_at)
    where decision = 'review' and verdict is null;
create table risk_lists (
    kind text not null check (kind in ('email', 'email_domain', 'address', 'country',
        'card', 'customer')),
    value text not null check (length(value) between 1 and 320),
    action text not null check (action in ('allow', 'block', 'review')),
    reason text,
    added_by text,
    expires_at timestamptz,
    created_at timestamptz not null default now(),
    primary key (kind, value)
);
-- What a customer paid on one UTC day, for limits by amount.
create table daily_amounts (
    customer_id uuid not null,
    day date not null,
    currency text not null,
    amount_minor bigint not null default 0 check (amount_minor >= 0),
    primary key (customer_id, day, currency)
) with (fillfactor = 70);

-- Who may ----------------------------------------------------------------------------------------

create table staff (
    id uuid primary key,
    email text not null unique check (email = lower(email) and length(email) <= 320),
    name text not null,
    role text not null check (role in ('admin', 'finance', 'support')),
    password_hash text,
    failures integer not null default 0,
    locked_until timestamptz,
    disabled_at timestamptz,
    last_seen_at timestamptz,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now()
);
create table staff_sessions (
    token_hash bytea primary key,
    staff_id uuid not null references staff (id),
    address text,
    agent text,
    created_at timestamptz not null default now(),
    seen_at timestamptz not null default now(),
    expires_at timestamptz not null,
    revoked_at timestamptz
);
create index staff_sessions_staff on staff_sessions (staff_id);
create index staff_sessions_due on staff_sessions (expires_at);
-- One row for each refresh token; a used one that comes again ends its whole family.
create table refresh_tokens (
    token_hash bytea primary key,
    family_id uuid not null,
    subject text not null,
    claims jsonb not null default '{}',
    used_at timestamptz,
    revoked_at timestamptz,
    expires_at timestamptz not null,
    created_at timestamptz not null default now()
);
create index refresh_tokens_family on refresh_tokens (family_id);
create index refresh_tokens_due on refresh_tokens (expires_at);
alter table api_keys
    add column created_by text,
    add column last_used_at timestamptz,
    add column rolled_from uuid;

-- The trail --------------------------------------------------------------------------------------

-- Each customer's events and transfers are chained: a seal covers all up to its numbers and the
-- seal before it, so that a changed row is found.
create table seals (
    customer_id uuid not null,
    seq bigint not null,
    entry_seq bigint not null,
    hash bytea not null,
    sealed_at timestamptz not null default now(),
    primary key (customer_id, seq, entry_seq)
);
-- Changes of privileges, of the catalogue and of settings: one chain.
create table audit_log (
    seq bigint primary key,
    at timestamptz not null,
    actor text not null,
    action text not null,
    subject text not null,
    request_id text,
    data jsonb not null default '{}',
    hash bytea not null
);
-- The publisher marks whose events are not sealed, and whose payments not weighed, yet.
insert into sinks (name) values ('seals'), ('risk');
create trigger seals_append_only before update or delete on seals
    for each row execute function refuse_change();
create trigger seals_no_truncate before truncate on seals
    for each statement execute function refuse_change();
create trigger audit_log_append_only before update or delete on audit_log
    for each row execute function refuse_change();
create trigger audit_log_no_truncate before truncate on audit_log
    for each statement execute function refuse_change();

-- Old tables that were brought over -----------------------------------------------------------

-- How far the reading of an old table has come, so that it goes on there.
create table legacy_imports (
    source text not null,
    tbl text not null,
    rows_done bigint not null default 0,
    imported bigint not null default 0,
    known bigint not null default 0,
    refused bigint not null default 0,
    started_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    primary key (source, tbl)
);

-- The catalogue at providers ---------------------------------------------------------------------

create table catalog_refs (
    provider text not null,
    account text not null default '',
    kind text not null check (kind in ('pack', 'item', 'plan')),
    local_id uuid not null,
    product_ref text not null,
    price_ref text,
    synced_hash bytea,
    synced_at timestamptz,
    primary key (provider, account, kind, local_id)
);
create unique index catalog_refs_product on catalog_refs (provider, account, product_ref);

-- Guards -----------------------------------------------------------------------------------------

create trigger payment_methods_touch before update on payment_methods
    for each row execute function touch_updated_at();
create trigger setups_touch before update on setups
    for each row execute function touch_updated_at();
create trigger items_touch before update on items
    for each row execute function touch_updated_at();
create trigger purchases_touch before update on purchases
    for each row execute function touch_updated_at();
create trigger customer_services_touch before update on customer_services
    for each row execute function touch_updated_at();
create trigger wallets_touch before update on wallets
    for each row execute function touch_updated_at();
create trigger withdrawals_touch before update on withdrawals
    for each row execute function touch_updated_at();
create trigger holds_touch before update on holds
    for each row execute function touch_updated_at();
create trigger refunds_touch before update on refunds
    for each row execute function touch_updated_at();
create trigger disputes_touch before update on disputes
    for each row execute function touch_updated_at();
create trigger dispute_files_touch before update on dispute_files
    for each row execute function touch_updated_at();
create trigger statement_lines_touch before update on statement_lines
    for each row execute function touch_updated_at();
create trigger reconciliations_touch before update on reconciliations
    for each row execute function touch_updated_at();
create trigger legacy_imports_touch before update on legacy_imports
    for each row execute function touch_updated_at();
create trigger staff_touch before update on staff
    for each row execute function touch_updated_at();
revoke update, delete, truncate on seals, audit_log from paydesk_app;
