-- no transaction
-- When a subscription's notices (a long period that renews, a card that will have expired) are
-- looked at next: the longest time of the settings before this instant. 'infinity': all of this
-- period is told, or nothing is to tell. Whatever may change that opens it again, here: no writer
-- of subscriptions or methods has to think of it. Rows of before are looked at once.
alter table subscriptions add column if not exists notice_at timestamptz not null
    default '-infinity';

create or replace function open_notices() returns trigger language plpgsql as $$
begin
    new.notice_at := case
        when new.runner = 'paydesk' and new.state in ('trialing', 'active')
            and new.cancel_at is null then new.period_end
        else 'infinity' end;
    return new;
end $$;

create or replace function open_notices_of_methods() returns trigger language plpgsql as $$
begin
    update subscriptions set notice_at = period_end
        where customer_id = new.customer_id and runner = 'paydesk'
        and state in ('trialing', 'active') and cancel_at is null;
    return null;
end $$;

drop trigger if exists subscriptions_notices_new on subscriptions;
create trigger subscriptions_notices_new before insert on subscriptions
    for each row execute function open_notices();
drop trigger if exists subscriptions_notices on subscriptions;
create trigger subscriptions_notices before update on subscriptions
    for each row when (
        (old.state, old.period_end, old.plan_id, old.plan_version, old.price_minor, old.cancel_at,
         old.method_id, old.runner)
        is distinct from
        (new.state, new.period_end, new.plan_id, new.plan_version, new.price_minor, new.cancel_at,
         new.method_id, new.runner))
    execute function open_notices();
drop trigger if exists payment_methods_notices_new on payment_methods;
create trigger payment_methods_notices_new after insert on payment_methods
    for each row when (new.detached_at is null) execute function open_notices_of_methods();
drop trigger if exists payment_methods_notices on payment_methods;
create trigger payment_methods_notices after update on payment_methods
    for each row when (
        (old.is_default, old.detached_at, old.exp_month, old.exp_year)
        is distinct from (new.is_default, new.detached_at, new.exp_month, new.exp_year))
    execute function open_notices_of_methods();

-- That it is looked at another time is no change of a subscription.
drop trigger if exists subscriptions_touch on subscriptions;
create trigger subscriptions_touch before update on subscriptions
    for each row when (old.version is distinct from new.version
        or old.notice_at is not distinct from new.notice_at)
    execute function touch_updated_at();

drop index concurrently if exists subscriptions_notices;
create index concurrently subscriptions_notices on subscriptions (notice_at, customer_id, id)
    where clock_id is null and notice_at < 'infinity';
