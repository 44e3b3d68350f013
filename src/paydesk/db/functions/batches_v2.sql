-- Open batches of credits for customers whose heads the caller has locked. The transfer that fills
-- each is posted apart and names it as its subject.
create function batches_v2(
    p_customers uuid[], p_ids uuid[], p_kinds text[], p_origins text[], p_amounts bigint[],
    p_take_at timestamptz[], p_granted_at timestamptz[], p_expires_at timestamptz[],
    p_payments uuid[], p_sources uuid[], p_costs bigint[], p_currencies text[]
) returns void
language plpgsql
set plan_cache_mode = force_generic_plan
set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off set jit = off
as $$
begin
    insert into batches (customer_id, id, kind, origin, granted, remaining, take_at, granted_at,
        expires_at, payment_id, source_id, cost_minor, currency, clock_id)
    select e.customer_id, e.id, e.kind, e.origin, e.amount, e.amount, e.take_at, e.granted_at,
        e.expires_at, e.payment_id, e.source_id, e.cost_minor, e.currency, h.clock_id
    from unnest(p_customers, p_ids, p_kinds, p_origins, p_amounts, p_take_at, p_granted_at,
            p_expires_at, p_payments, p_sources, p_costs, p_currencies)
        e(customer_id, id, kind, origin, amount, take_at, granted_at, expires_at, payment_id,
            source_id, cost_minor, currency)
    cross join lateral (select t.clock_id from heads t where t.customer_id = e.customer_id
        limit 1) h;

    -- Every book that a spend moves exists from the first grant on.
    insert into accounts (customer_id, code, asset, floor)
    select l.customer_id, l.code, 'CREDIT', case when l.code = 1 then 0 else -9223372036854775808 end
    from (select distinct e.customer_id, s.code::smallint from unnest(p_customers) e(customer_id)
        cross join (values (1), (7)) s(code)) l(customer_id, code)
    -- Looked up one by one, as post_v3 does it.
    left join lateral (select true as is_there from accounts a
        where a.customer_id = l.customer_id and a.code = l.code and a.asset = 'CREDIT' limit 1) k
        on true
    where k.is_there is null
    on conflict do nothing;

    update accounts a set next_expiry = u.next_expiry
    from (
        select x.at, g.next_expiry
        from (select e.customer_id, min(e.expires_at) as next_expiry
            from unnest(p_customers, p_expires_at) e(customer_id, expires_at)
            group by e.customer_id) g
        cross join lateral (select t.ctid as at, t.next_expiry from accounts t
            where t.customer_id = g.customer_id and t.code = 1 and t.asset = 'CREDIT' limit 1) x
        where g.next_expiry < x.next_expiry
    ) u
    where a.ctid = u.at;
end $$;
