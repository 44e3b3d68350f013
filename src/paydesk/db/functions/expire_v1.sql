-- Book the expiry of a customer's batches that ended at or before `p_now`, soonest first, at most
-- `p_limit`. The caller holds the head. Answers how many were booked and whether more are due.
--
-- Each batch is one transfer from credits to breakage, effective at the batch's own instant.
create function expire_v1(p_customer uuid, p_now timestamptz, p_limit integer)
returns table (booked integer, more boolean)
language plpgsql
set plan_cache_mode = force_generic_plan
set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off set jit = off
as $$
declare
    v_head record;
    v_credits bigint;
    v_breakage bigint;
    v_total bigint;
    v_batches uuid[];
    v_ids uuid[];
    v_events uuid[];
    v_left bigint[];
    v_ends timestamptz[];
    v_next timestamptz;
begin
    select array_agg(d.id), array_agg(d.remaining), array_agg(d.expires_at),
        array_agg(owned_id_v1(p_customer, p_now)), array_agg(owned_id_v1(p_customer, p_now)),
        sum(d.remaining)::bigint
    into v_batches, v_left, v_ends, v_ids, v_events, v_total
    from (
        select b.id, b.remaining, b.expires_at from batches b
        where b.customer_id = p_customer and b.open and b.expires_at <= p_now
        order by b.expires_at, b.id
        limit p_limit
    ) d;
    booked := coalesce(cardinality(v_batches), 0);

    if booked > 0 then
        select h.seq, h.entry_seq, h.last_at into strict v_head
        from heads h where h.customer_id = p_customer;
        select a.balance into strict v_credits from accounts a
        where a.customer_id = p_customer and a.code = 1 and a.asset = 'CREDIT';
        insert into accounts (customer_id, code, asset, floor)
        values (p_customer, 8, 'CREDIT', -9223372036854775808) on conflict do nothing;
        select a.balance into strict v_breakage from accounts a
        where a.customer_id = p_customer and a.code = 8 and a.asset = 'CREDIT';

        insert into transfers (customer_id, id, seq, txn_id, debit, credit, asset, amount,
            debit_after, credit_after, reason, subject_id, effective_at)
        select p_customer, u.id, v_head.entry_seq + u.i, u.id, 1, 8, 'CREDIT', u.amount,
            v_credits - sum(u.amount) over (order by u.i),
            v_breakage + sum(u.amount) over (order by u.i), 'CREDIT_EXPIRY', u.batch_id, u.ends
        from unnest(v_ids, v_batches, v_left, v_ends)
            with ordinality u(id, batch_id, amount, ends, i);

        insert into draws (customer_id, transfer_id, batch_id, amount)
        select p_customer, u.id, u.batch_id, u.amount
        from unnest(v_ids, v_batches, v_left) u(id, batch_id, amount);

        insert into events (customer_id, seq, id, type, subject_id, data, created_at)
        select p_customer, v_head.seq + u.i, u.event_id, 'credits.expired', u.id,
            jsonb_build_object('amount', u.amount,
                'balance', v_credits - sum(u.amount) over (order by u.i), 'transfer_id', u.id,
                'batch_id', u.batch_id, 'expires_at', u.ends), greatest(v_head.last_at, p_now)
        from unnest(v_events, v_ids, v_batches, v_left, v_ends)
            with ordinality u(event_id, id, batch_id, amount, ends, i);
        insert into news (customer_id) values (p_customer) on conflict do nothing;

        update batches b set remaining = 0, open = false
        from unnest(v_batches) u(id)
        cross join lateral (select t.ctid as at from batches t
            where t.customer_id = p_customer and t.id = u.id limit 1) x
        where b.ctid = x.at;
        update accounts a set balance = a.balance + v_total
        where a.customer_id = p_customer and a.code = 8 and a.asset = 'CREDIT';
        update heads h set seq = h.seq + booked, entry_seq = h.entry_seq + booked,
            last_at = greatest(h.last_at, p_now)
        where h.customer_id = p_customer;
    end if;

    select b.expires_at into v_next from batches b
    where b.customer_id = p_customer and b.open
    order by b.expires_at, b.id limit 1;
    update accounts a set balance = a.balance - coalesce(v_total, 0),
        next_expiry = coalesce(v_next, 'infinity')
    where a.customer_id = p_customer and a.code = 1 and a.asset = 'CREDIT';
    more := coalesce(v_next <= p_now, false);
    return next;
end $$;
