-- Which of these (customer, request key) have made a transfer, and which; i is the place in the
-- arrays. The order makes the planner take the index of keys, whatever the table's size.
create function known_v1(p_customers uuid[], p_keys uuid[])
returns table (i bigint, id uuid, request_hash bigint, txn_id uuid, subject_id uuid, amount bigint,
    credit_after bigint)
language plpgsql
set plan_cache_mode = force_generic_plan
set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off
set enable_bitmapscan = off set enable_sort = off set jit = off
as $$
#variable_conflict use_column
begin
    return query
    select k.i, t.id, t.request_hash, t.txn_id, t.subject_id, t.amount, t.credit_after
    from unnest(p_customers, p_keys) with ordinality k(customer_id, key, i)
    cross join lateral (
        select x.request_key, x.id, x.request_hash, x.txn_id, x.subject_id, x.amount, x.credit_after
        from transfers x
        where x.customer_id = k.customer_id and x.request_key >= k.key
        order by x.request_key limit 1) t
    where t.request_key = k.key;
end $$;
