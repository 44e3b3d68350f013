-- no transaction
-- Indexes for what people look at: the webhooks of a payment, the inbox, payments to review. They
-- cost most writes nothing, the others one entry.
drop index concurrently if exists provider_events_subject;
create index concurrently provider_events_subject on provider_events (customer_id, subject_id)
    where customer_id is not null;
drop index concurrently if exists provider_events_received;
create index concurrently provider_events_received on provider_events (received_at);
drop index concurrently if exists payments_review;
create index concurrently payments_review on payments (created_at, id) where review is not null;

-- A reference names one payment that is under way or was paid; after a dead one the same order is
-- tried again. Money that comes late for a dead payment is recorded beside the new one, so that
-- only the states before the money are unique here; the rest is looked up under the customer's lock.
drop index concurrently if exists payments_reference_open;
create unique index concurrently payments_reference_open on payments (customer_id, reference)
    where reference is not null
    and state in ('pending', 'processing', 'requires_action', 'authorized');
drop index concurrently if exists payments_references;
create index concurrently payments_references on payments (customer_id, reference)
    where reference is not null;
drop index concurrently if exists payments_reference;
