-- no transaction
-- The settings by which subscriptions.notice_at was written, in days; one row. Where they change
-- every subscription is looked at anew.
create table if not exists notice_terms (
    is_only boolean primary key default true check (is_only),
    renewal_days integer not null check (renewal_days >= 0),
    card_days integer not null check (card_days >= 0),
    set_at timestamptz not null
);
