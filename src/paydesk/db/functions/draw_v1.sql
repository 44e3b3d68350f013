-- Take from batches (amount > 0) or put back into them (amount < 0), for transfers that the caller
-- posts in the same transaction with the customers' heads locked. One row per transfer and batch.
create function draw_v1(
    p_customers uuid[], p_transfers uuid[], p_batches uuid[], p_amounts bigint[]
) returns void
language plpgsql
set plan_cache_mode = force_generic_plan
set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off set jit = off
as $$
declare
    v_moved bigint;
    v_wanted bigint;
begin
    insert into draws (customer_id, transfer_id, batch_id, amount)
    select * from unnest(p_customers, p_transfers, p_batches, p_amounts);

    select count(*) into v_wanted from (
        select distinct e.customer_id, e.batch_id
        from unnest(p_customers, p_batches) e(customer_id, batch_id)) l;
    update batches b set remaining = u.remaining, open = u.remaining > 0
    from (
        select x.at, x.remaining - g.taken as remaining
        from (select e.customer_id, e.batch_id, sum(e.amount)::bigint as taken
            from unnest(p_customers, p_batches, p_amounts) e(customer_id, batch_id, amount)
            group by e.customer_id, e.batch_id) g
        cross join lateral (select t.ctid as at, t.remaining from batches t
            where t.customer_id = g.customer_id and t.id = g.batch_id limit 1) x
    ) u
    where b.ctid = u.at;
    get diagnostics v_moved = row_count;
    if v_moved <> v_wanted then
        raise exception 'a batch moved under its lock' using errcode = 'serialization_failure';
    end if;

    update accounts a set next_expiry = u.next_expiry
    from (
        select x.at, g.next_expiry
        from (select e.customer_id, min(b.expires_at) as next_expiry
            from unnest(p_customers, p_batches, p_amounts) e(customer_id, batch_id, amount)
            cross join lateral (select t.expires_at from batches t
                where t.customer_id = e.customer_id and t.id = e.batch_id limit 1) b
            where e.amount < 0
            group by e.customer_id) g
        cross join lateral (select t.ctid as at, t.next_expiry from accounts t
            where t.customer_id = g.customer_id and t.code = 1 and t.asset = 'CREDIT' limit 1) x
        where g.next_expiry < x.next_expiry
    ) u
    where a.ctid = u.at;
end $$;
