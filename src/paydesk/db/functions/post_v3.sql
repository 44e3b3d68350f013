-- Post transfers, in the order given, to the books of customers whose heads the caller has locked.
--
-- A credit adds to a balance, a debit takes from it. Writes the transfers with both running
-- balances and gap-free numbers, and moves the accounts. Raises check_violation where credits,
-- wallet, held or balance would fall below zero, numeric_value_out_of_range at the 64-bit edge.
create function post_v3(
    p_customers uuid[], p_ids uuid[], p_txns uuid[], p_debits smallint[], p_credits smallint[],
    p_assets text[], p_amounts bigint[], p_reasons text[], p_subjects uuid[], p_reverses uuid[],
    p_keys uuid[], p_hashes bigint[], p_notes text[], p_references text[], p_metadata text[],
    p_effective timestamptz[]
) returns void
language plpgsql
set plan_cache_mode = force_generic_plan
set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off set jit = off
as $$
declare
    v_debit_after bigint[];
    v_credit_after bigint[];
    v_lowest bigint;
    v_moved bigint;
    v_wanted bigint;
begin
    insert into accounts (customer_id, code, asset, floor)
    select l.customer_id, l.code, l.asset,
        case when l.code in (1, 2, 3, 18) then 0 else -9223372036854775808 end
    from (
        select distinct e.customer_id, s.code, e.asset
        from unnest(p_customers, p_debits, p_credits, p_assets) e(customer_id, debit, credit, asset)
        cross join lateral (values (e.debit), (e.credit)) s(code)
    ) l
    -- Each is looked up by itself: the plan is kept, and one for a join that was made while the
    -- table was empty would read all of it for every account of a batch.
    left join lateral (select true as is_there from accounts a
        where a.customer_id = l.customer_id and a.code = l.code and a.asset = l.asset limit 1) k
        on true
    where k.is_there is null
    on conflict do nothing;

    select array_agg(r.debit_after order by r.i), array_agg(r.credit_after order by r.i),
        min(r.lowest)
    into v_debit_after, v_credit_after, v_lowest
    from (
        select l.i, max(l.after) filter (where l.delta < 0) as debit_after,
            max(l.after) filter (where l.delta > 0) as credit_after,
            min(l.after) filter (where l.code in (1, 2, 3, 18)) as lowest
        from (
            select e.i, s.code, s.delta, (a.balance + sum(s.delta)
                over (partition by e.customer_id, s.code, e.asset order by e.i))::bigint as after
            from unnest(p_customers, p_debits, p_credits, p_assets, p_amounts)
                with ordinality e(customer_id, debit, credit, asset, amount, i)
            cross join lateral (values (e.debit, -e.amount), (e.credit, e.amount)) s(code, delta)
            cross join lateral (select t.balance from accounts t
                where t.customer_id = e.customer_id and t.code = s.code and t.asset = e.asset
                limit 1) a
        ) l
        group by l.i
    ) r;
    if v_lowest < 0 then
        raise exception 'a balance would fall below zero' using errcode = 'check_violation';
    end if;

    insert into transfers (customer_id, id, seq, txn_id, debit, credit, asset, amount, debit_after,
        credit_after, reason, subject_id, reverses_id, request_key, request_hash, note, reference,
        metadata, effective_at)
    select e.customer_id, e.id,
        h.entry_seq + row_number() over (partition by e.customer_id order by e.i), e.txn_id,
        e.debit, e.credit, e.asset, e.amount, e.debit_after, e.credit_after, e.reason, e.subject_id,
        e.reverses_id, e.request_key, e.request_hash, e.note, e.reference, e.metadata::jsonb,
        e.effective_at
    from unnest(p_customers, p_ids, p_txns, p_debits, p_credits, p_assets, p_amounts, v_debit_after,
            v_credit_after, p_reasons, p_subjects, p_reverses, p_keys, p_hashes, p_notes,
            p_references, p_metadata, p_effective)
        with ordinality e(customer_id, id, txn_id, debit, credit, asset, amount, debit_after,
            credit_after, reason, subject_id, reverses_id, request_key, request_hash, note,
            reference, metadata, effective_at, i)
    cross join lateral (select t.entry_seq from heads t where t.customer_id = e.customer_id
        limit 1) h;
    get diagnostics v_moved = row_count;
    if v_moved <> cardinality(p_ids) then
        raise exception 'a customer without a head cannot be posted to'
            using errcode = 'foreign_key_violation';
    end if;

    select count(*) into v_wanted from (
        select distinct e.customer_id, s.code, e.asset
        from unnest(p_customers, p_debits, p_credits, p_assets) e(customer_id, debit, credit, asset)
        cross join lateral (values (e.debit), (e.credit)) s(code)
    ) l;
    update accounts a set balance = u.balance
    from (
        select x.at, l.balance
        from (
            select e.customer_id, s.code, e.asset, sum(s.delta) as moved
            from unnest(p_customers, p_debits, p_credits, p_assets, p_amounts)
                e(customer_id, debit, credit, asset, amount)
            cross join lateral (values (e.debit, -e.amount), (e.credit, e.amount)) s(code, delta)
            group by e.customer_id, s.code, e.asset
        ) g
        cross join lateral (select t.ctid as at, t.balance from accounts t
            where t.customer_id = g.customer_id and t.code = g.code and t.asset = g.asset
            limit 1) x
        cross join lateral (select (x.balance + g.moved)::bigint as balance) l
    ) u
    where a.ctid = u.at;
    get diagnostics v_moved = row_count;
    if v_moved <> v_wanted then
        raise exception 'an account moved under its lock' using errcode = 'serialization_failure';
    end if;

    update heads h set entry_seq = u.entry_seq
    from (
        select x.at, x.entry_seq + g.n as entry_seq
        from (select e.customer_id, count(*) as n from unnest(p_customers) e(customer_id)
            group by e.customer_id) g
        cross join lateral (select t.ctid as at, t.entry_seq from heads t
            where t.customer_id = g.customer_id limit 1) x
    ) u
    where h.ctid = u.at;
end $$;
