-- no transaction
-- What an event is about, where the provider is asked about that: all events that wait for the
-- same answer are found by it. settled_by: the event with which another was settled.
alter table provider_events add column if not exists about text;
alter table provider_events add column if not exists settled_by text;
drop index concurrently if exists provider_events_about;
create index concurrently provider_events_about on provider_events (provider, account, about)
    where about is not null and state in ('new', 'waiting');
