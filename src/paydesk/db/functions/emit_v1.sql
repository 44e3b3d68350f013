-- Append events, in the order given, for customers whose heads the caller has locked: numbers
-- without gaps from the head, which also remembers the decision's time, and news for the publisher.
create function emit_v1(
    p_now timestamptz, p_customers uuid[], p_ids uuid[], p_types text[], p_subjects uuid[],
    p_data text[], p_causes text[]
) returns void
language plpgsql
set plan_cache_mode = force_generic_plan
set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off set jit = off
as $$
begin
    insert into events (customer_id, seq, id, type, subject_id, data, cause, created_at)
    select e.customer_id, h.seq + row_number() over (partition by e.customer_id order by e.i),
        e.id, e.type, e.subject_id, e.data::jsonb, e.cause::jsonb, greatest(h.last_at, p_now)
    from unnest(p_customers, p_ids, p_types, p_subjects, p_data, p_causes)
        with ordinality e(customer_id, id, type, subject_id, data, cause, i)
    cross join lateral (select t.seq, t.last_at from heads t
        where t.customer_id = e.customer_id limit 1) h;

    insert into news (customer_id)
    select distinct e.customer_id from unnest(p_customers) e(customer_id)
    order by e.customer_id
    on conflict do nothing;

    update heads h set seq = u.seq, last_at = u.last_at
    from (
        select x.at, x.seq + g.n as seq, greatest(x.last_at, p_now) as last_at
        from (select e.customer_id, count(*) as n from unnest(p_customers) e(customer_id)
            group by e.customer_id) g
        cross join lateral (select t.ctid as at, t.seq, t.last_at from heads t
            where t.customer_id = g.customer_id limit 1) x
    ) u
    where h.ctid = u.at;
end $$;
