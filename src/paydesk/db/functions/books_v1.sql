-- One account of each of these customers: the stored balance, and whether a batch of credits has
-- ended by p_now that is not booked yet. Customers who never used the account are left out.
create function books_v1(p_customers uuid[], p_code smallint, p_asset text, p_now timestamptz)
returns table (customer_id uuid, balance bigint, is_due boolean)
language plpgsql
set plan_cache_mode = force_generic_plan
set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off
set enable_bitmapscan = off set jit = off
as $$
#variable_conflict use_column
begin
    return query
    select c.id, a.balance, a.next_expiry <= greatest(p_now, h.last_at)
    from unnest(p_customers) c(id)
    cross join lateral (select t.balance, t.next_expiry from accounts t
        where t.customer_id = c.id and t.code = p_code and t.asset = p_asset limit 1) a
    cross join lateral (select t.last_at from heads t where t.customer_id = c.id limit 1) h;
end $$;
