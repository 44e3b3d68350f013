-- Change what is owed on batches: > 0 adds to the debt, < 0 repays it. The transfers on the debt
-- account are posted apart; the customers' heads are locked.
create function owe_v1(p_customers uuid[], p_batches uuid[], p_amounts bigint[]) returns void
language plpgsql
set plan_cache_mode = force_generic_plan
set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off set jit = off
as $$
begin
    update batches b set owed = u.owed
    from (
        select x.at, x.owed + g.change as owed
        from (select e.customer_id, e.batch_id, sum(e.amount)::bigint as change
            from unnest(p_customers, p_batches, p_amounts) e(customer_id, batch_id, amount)
            group by e.customer_id, e.batch_id) g
        cross join lateral (select t.ctid as at, t.owed from batches t
            where t.customer_id = g.customer_id and t.id = g.batch_id limit 1) x
    ) u
    where b.ctid = u.at;
end $$;
