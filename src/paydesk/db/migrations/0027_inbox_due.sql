-- no transaction
-- What is due, provider by provider: one with a long backlog stands before no other's events.
drop index concurrently if exists provider_events_due_of;
create index concurrently provider_events_due_of on provider_events (provider, try_at)
    where state in ('new', 'waiting');
drop index concurrently if exists provider_events_due;
