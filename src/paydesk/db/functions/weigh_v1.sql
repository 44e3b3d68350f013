-- What risk weighs a customer's payment by: of each kind of row the newest, so many at most. It runs
-- under the customer's lock, so each is read down an index, whatever is known of the tables' sizes.
-- p_apart: the payment itself, once it is written. p_card: a fingerprint, of anybody's methods.
create function weigh_v1(
    p_customer uuid, p_currency text, p_now timestamptz, p_apart uuid, p_card text,
    p_kinds text[], p_values text[]
)
returns table (payments_1h int, payments_24h int, paid_before int, largest_minor bigint,
    usual_minor bigint, disputes int, cards_24h int, failed_1h int, failed_24h int,
    methods_24h int, customers_of_card int, lists text[])
language plpgsql stable
set plan_cache_mode = force_generic_plan
set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off
set enable_bitmapscan = off set enable_sort = off set jit = off
as $$
#variable_conflict use_column
declare
    hour constant timestamptz := p_now - interval '1 hour';
    day constant timestamptz := p_now - interval '1 day';
begin
    return query
    select p.*, a.*, m.*, c.*, l.*
    from (
        select count(*) filter (where r.created_at > hour)::int,
            count(*) filter (where r.created_at > day)::int,
            count(*) filter (where r.completed_at is not null and r.currency = p_currency)::int,
            coalesce(max(r.captured_minor) filter (where r.currency = p_currency), 0)::bigint,
            coalesce(percentile_disc(0.5) within group (order by r.captured_minor)
                filter (where r.completed_at is not null and r.currency = p_currency), 0)::bigint,
            count(*) filter (where r.disputed)::int,
            count(distinct r.method_detail->>'fingerprint') filter (where r.created_at > day)::int
        from (select x.created_at, x.completed_at, x.currency, x.captured_minor, x.disputed,
                x.method_detail
            from payments x
            where x.customer_id = p_customer and x.id is distinct from p_apart
            order by x.id desc limit 500) r
    ) p cross join (
        select count(*) filter (where r.created_at > hour)::int, count(*)::int
        from (select x.created_at, x.state from attempts x where x.customer_id = p_customer
            order by x.id desc limit 500) r
        where r.created_at > day and r.state = 'failed'
    ) a cross join (
        select count(*)::int from (select x.created_at from payment_methods x
            where x.customer_id = p_customer order by x.id desc limit 100) r
        where r.created_at > day
    ) m cross join (
        select least(count(distinct r.customer_id), 20)::int from (select x.customer_id
            from payment_methods x where x.fingerprint = p_card limit 500) r
    ) c cross join (
        select array_agg(array[r.action, r.kind, r.value])
        from unnest(p_kinds, p_values) as k(kind, value)
        cross join lateral (select x.action, x.kind, x.value from risk_lists x
            where x.kind = k.kind and x.value = k.value
                and (x.expires_at is null or x.expires_at > p_now) limit 1) r
    ) l;
end $$;
