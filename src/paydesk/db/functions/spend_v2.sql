-- Spend credits: one call for a group of items over many customers, one verdict for each item.
--
-- Items of one customer are neighbours and in order: customer c (sorted, distinct) has the items
-- p_first[c] .. p_first[c + 1] - 1, and p_of[i] is the customer of item i. No two items of a call
-- share a customer and a key. Verdicts: 0 done, 1 insufficient, 2 same again, 3 key reused,
-- 4 busy (the head is locked elsewhere and p_wait is false), 5 the day's limit is reached,
-- 6 slow (more than p_expire batches are due to expire: call again), 7 no such customer.
-- p_again: the outcome of an earlier call is unknown, so items are also looked up by their id.
--
-- Order of taking is the index batches_queue; draws are answered flat, each with its item. For
-- verdict 2, known_ids is the stored transfer and the balance is the one after it.
create function spend_v2(
    p_now timestamptz, p_wait boolean, p_again boolean, p_expire integer, p_daily integer,
    p_customers uuid[], p_first integer[], p_of integer[],
    p_ids uuid[], p_events uuid[], p_amounts bigint[], p_keys uuid[], p_hashes bigint[],
    p_notes text[], p_references text[], p_metadata text[], p_causes text[]
) returns table (
    statuses smallint[], balances bigint[], known_items integer[], known_ids uuid[],
    draw_items integer[], draw_batches uuid[], draw_amounts bigint[]
)
language plpgsql
set plan_cache_mode = force_generic_plan
set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off
set enable_bitmapscan = off set enable_sort = off set jit = off
as $$
declare
    n constant integer := cardinality(p_ids);
    -- The locked customers: h_of is the customer's number, the rest its head and its two books.
    h_of integer[]; h_at tid[]; h_seq bigint[]; h_entry bigint[]; h_last timestamptz[];
    h_day date[]; h_used integer[]; h_slow boolean[];
    a_balance bigint[]; a_at tid[]; a_usage bigint[]; a_usage_at tid[];
    v_due boolean; v_missing integer[]; v_row record;
    -- Requests that are known already, in order of their items.
    k_hash bigint[]; k_balance bigint[]; k_spend boolean[]; k integer := 1;
    -- The first open batches of each locked customer, then pages of one that drains more.
    b_of integer[]; b_at tid[]; b_id uuid[]; b_left bigint[]; b_take timestamptz[]; b integer := 0;
    g_at tid[]; g_id uuid[]; g_left bigint[]; g_take timestamptz[]; g integer; g_n integer;
    -- The batch in hand, and the customer in hand.
    v_at tid; v_batch uuid; v_left bigint; v_take timestamptz; v_touched boolean;
    h integer := 1; v_now timestamptz; v_today date; v_used integer; v_balance bigint;
    v_usage bigint; v_seq bigint; v_entry bigint; v_need bigint; v_part bigint; v_status smallint;
    -- What will be written.
    t_seq bigint[]; t_event bigint[]; t_usage bigint[]; t_at timestamptz[];
    u_at tid[]; u_left bigint[]; x_at tid[]; x_balance bigint[];
    y_at tid[]; y_seq bigint[]; y_entry bigint[]; y_last timestamptz[]; y_day date[];
    y_used integer[]; v_count bigint;
begin
    if p_wait then
        select array_agg(c.i), array_agg(l.at), array_agg(l.seq), array_agg(l.entry_seq),
            array_agg(l.last_at), array_agg(l.day), array_agg(l.day_used)
        into h_of, h_at, h_seq, h_entry, h_last, h_day, h_used
        from unnest(p_customers) with ordinality c(id, i)
        cross join lateral (
            select t.ctid as at, t.seq, t.entry_seq, t.last_at, t.day, t.day_used
            from heads t where t.customer_id = c.id limit 1 for no key update) l;
    else
        select array_agg(c.i), array_agg(l.at), array_agg(l.seq), array_agg(l.entry_seq),
            array_agg(l.last_at), array_agg(l.day), array_agg(l.day_used)
        into h_of, h_at, h_seq, h_entry, h_last, h_day, h_used
        from unnest(p_customers) with ordinality c(id, i)
        cross join lateral (
            select t.ctid as at, t.seq, t.entry_seq, t.last_at, t.day, t.day_used
            from heads t where t.customer_id = c.id limit 1 for no key update skip locked) l;
    end if;
    if coalesce(cardinality(h_of), 0) < cardinality(p_customers) then
        select array_agg(c.i) into v_missing
        from unnest(p_customers) with ordinality c(id, i)
        where not exists (select from heads t where t.customer_id = c.id);
    end if;

    -- Only what is read after the locks is the truth. Twice where something has expired.
    for v_pass in 1..2 loop
        select array_agg(coalesce(a.balance, 0)), array_agg(a.at),
            array_agg(coalesce(u.balance, 0)), array_agg(u.at),
            bool_or(a.next_expiry <= greatest(p_now, l.last_at))
        into a_balance, a_at, a_usage, a_usage_at, v_due
        from unnest(h_of, h_last) l(i, last_at)
        left join lateral (select t.ctid as at, t.balance, t.next_expiry from accounts t
            where t.customer_id = p_customers[l.i] and t.code = 1 and t.asset = 'CREDIT'
            limit 1) a on true
        left join lateral (select t.ctid as at, t.balance from accounts t
            where t.customer_id = p_customers[l.i] and t.code = 7 and t.asset = 'CREDIT'
            limit 1) u on true;
        exit when v_pass = 2 or v_due is not true;
        h_slow := array_fill(false, array[cardinality(h_of)]);
        for v_row in
            select l.o, p_customers[l.i] as customer_id, greatest(p_now, l.last_at) as at
            from unnest(h_of, h_last) with ordinality l(i, last_at, o)
            cross join lateral (select t.next_expiry from accounts t
                where t.customer_id = p_customers[l.i] and t.code = 1 and t.asset = 'CREDIT'
                limit 1) a
            where a.next_expiry <= greatest(p_now, l.last_at)
        loop
            select e.more into v_due from expire_v1(v_row.customer_id, v_row.at, p_expire) e;
            h_slow[v_row.o] := v_due;
        end loop;
        select array_agg(t.at), array_agg(t.seq), array_agg(t.entry_seq), array_agg(t.last_at)
        into h_at, h_seq, h_entry, h_last
        from unnest(h_of) l(i)
        cross join lateral (select x.ctid as at, x.seq, x.entry_seq, x.last_at
            from heads x where x.customer_id = p_customers[l.i] limit 1) t;
    end loop;

    -- The order makes the planner take the one index that holds key or id, whatever it believes
    -- about the table's size.
    if p_keys is not null then
        select array_agg(l.i), array_agg(t.id), array_agg(t.request_hash), array_agg(t.debit_after),
            array_agg(t.is_spend)
        into known_items, known_ids, k_hash, k_balance, k_spend
        from unnest(p_of, p_keys) with ordinality l(o, key, i)
        cross join lateral (
            select x.id, x.request_key, x.request_hash, x.debit_after,
                x.reason = 'CREDIT_USAGE' as is_spend
            from transfers x
            where x.customer_id = p_customers[l.o] and x.request_key >= l.key
            order by x.request_key limit 1) t
        where t.request_key = l.key;
    end if;
    if p_again then
        select array_agg(f.i), array_agg(f.id), array_agg(f.request_hash), array_agg(f.debit_after),
            array_agg(f.is_spend)
        into known_items, known_ids, k_hash, k_balance, k_spend
        from (
            select * from unnest(known_items, known_ids, k_hash, k_balance, k_spend)
                r(i, id, request_hash, debit_after, is_spend)
            union
            select l.i, t.* from unnest(p_of, p_ids) with ordinality l(o, id, i)
            cross join lateral (
                select x.id, x.request_hash, x.debit_after, x.reason = 'CREDIT_USAGE'
                from transfers x
                where x.customer_id = p_customers[l.o] and x.id >= l.id
                order by x.id limit 1) t
            where t.id = l.id
            order by 1
        ) f;
    end if;

    select array_agg(l.o), array_agg(t.at), array_agg(t.id), array_agg(t.remaining),
        array_agg(t.take_at)
    into b_of, b_at, b_id, b_left, b_take
    from unnest(h_of) with ordinality l(i, o)
    cross join lateral (select x.ctid as at, x.id, x.remaining, x.take_at from batches x
        where x.customer_id = p_customers[l.i] and x.open
        order by x.take_at, x.id limit 4) t;

    statuses := array_fill(0::smallint, array[n]);
    balances := array_fill(0::bigint, array[n]);
    t_seq := balances; t_event := balances; t_usage := balances;
    t_at := array_fill(p_now, array[n]);

    for c in 1..cardinality(p_customers) loop
        if h_of[h] is distinct from c then
            for i in p_first[c]..p_first[c + 1] - 1 loop
                statuses[i] := case when c = any (v_missing) then 7 else 4 end;
            end loop;
            continue;
        end if;
        v_now := greatest(p_now, h_last[h]);
        v_today := (v_now at time zone 'utc')::date;
        v_used := case when h_day[h] = v_today then h_used[h] else 0 end;
        v_balance := a_balance[h]; v_usage := a_usage[h];
        v_seq := h_seq[h]; v_entry := h_entry[h];
        v_left := 0; v_batch := null; v_touched := false; g := 0; g_n := 0; v_count := 0;
        while b_of[b + 1] < h loop b := b + 1; end loop;
        while known_items[k] < p_first[c] loop k := k + 1; end loop;

        for i in p_first[c]..p_first[c + 1] - 1 loop
            v_need := p_amounts[i];
            if known_items[k] = i then
                statuses[i] := case when k_spend[k] and k_hash[k] is not distinct from p_hashes[i]
                    then 2 else 3 end;
                balances[i] := k_balance[k];
                k := k + 1;
                continue;
            elsif h_slow[h] then v_status := 6;
            elsif v_used >= p_daily then v_status := 5;
            elsif v_balance < v_need then v_status := 1;
            else v_status := 0;
            end if;
            if v_status > 0 then
                statuses[i] := v_status;
                balances[i] := v_balance;
                continue;
            end if;

            v_balance := v_balance - v_need;
            v_usage := v_usage + v_need;
            v_entry := v_entry + 1; v_seq := v_seq + 1; v_used := v_used + 1;
            v_count := v_count + 1;
            balances[i] := v_balance; t_usage[i] := v_usage; t_seq[i] := v_entry;
            t_event[i] := v_seq; t_at[i] := v_now;
            loop
                if v_left = 0 then
                    if v_touched then
                        u_at := array_append(u_at, v_at); u_left := array_append(u_left, 0::bigint);
                        v_touched := false;
                    end if;
                    if g = 0 and b_of[b + 1] = h then
                        b := b + 1;
                        v_at := b_at[b]; v_batch := b_id[b]; v_left := b_left[b];
                        v_take := b_take[b];
                    else
                        if g = g_n then
                            select array_agg(t.at), array_agg(t.id), array_agg(t.remaining),
                                array_agg(t.take_at)
                            into g_at, g_id, g_left, g_take
                            from (select x.ctid as at, x.id, x.remaining, x.take_at from batches x
                                where x.customer_id = p_customers[c] and x.open
                                    and (x.take_at, x.id) > (v_take, v_batch)
                                order by x.take_at, x.id limit 64) t;
                            g_n := coalesce(cardinality(g_id), 0); g := 0;
                            if g_n = 0 then
                                raise exception 'batches of % hold less than the balance says',
                                    p_customers[c] using errcode = 'data_corrupted';
                            end if;
                        end if;
                        g := g + 1;
                        v_at := g_at[g]; v_batch := g_id[g]; v_left := g_left[g];
                        v_take := g_take[g];
                    end if;
                end if;
                v_part := least(v_left, v_need);
                v_left := v_left - v_part;
                v_need := v_need - v_part;
                v_touched := true;
                draw_items := array_append(draw_items, i);
                draw_batches := array_append(draw_batches, v_batch);
                draw_amounts := array_append(draw_amounts, v_part);
                exit when v_need = 0;
            end loop;
        end loop;

        if v_touched then
            u_at := array_append(u_at, v_at); u_left := array_append(u_left, v_left);
        end if;
        if v_count > 0 then
            x_at := array_append(x_at, a_at[h]); x_balance := array_append(x_balance, v_balance);
            x_at := array_append(x_at, a_usage_at[h]);
            x_balance := array_append(x_balance, v_usage);
            y_at := array_append(y_at, h_at[h]); y_seq := array_append(y_seq, v_seq);
            y_entry := array_append(y_entry, v_entry); y_last := array_append(y_last, v_now);
            y_day := array_append(y_day, v_today); y_used := array_append(y_used, v_used);
        end if;
        h := h + 1;
    end loop;

    if y_at is null then return next; return; end if;

    insert into transfers (customer_id, id, seq, txn_id, debit, credit, asset, amount, debit_after,
        credit_after, reason, request_key, request_hash, note, reference, metadata, effective_at)
    select p_customers[u.o], u.id, u.seq, u.id, 1, 7, 'CREDIT', u.amount, u.balance, u.used,
        'CREDIT_USAGE', u.key, u.hash, u.note, u.reference, u.metadata::jsonb, u.at
    from unnest(p_of, p_ids, p_amounts, statuses, t_seq, balances, t_usage, t_at, p_keys, p_hashes,
            p_notes, p_references, p_metadata)
        u(o, id, amount, status, seq, balance, used, at, key, hash, note, reference, metadata)
    where u.status = 0;

    insert into draws (customer_id, transfer_id, batch_id, amount)
    select p_customers[p_of[u.item]], p_ids[u.item], u.batch_id, u.amount
    from unnest(draw_items, draw_batches, draw_amounts) u(item, batch_id, amount);

    insert into events (customer_id, seq, id, type, subject_id, data, cause, created_at)
    select p_customers[u.o], u.seq, u.event_id, 'credits.spent', u.id,
        jsonb_strip_nulls(jsonb_build_object('amount', u.amount, 'balance', u.balance,
            'transfer_id', u.id, 'reason', u.note, 'reference', u.reference,
            'metadata', u.metadata::jsonb)), u.cause::jsonb, u.at
    from unnest(p_of, p_ids, p_events, p_amounts, statuses, t_event, balances, p_notes,
            p_references, p_metadata, p_causes, t_at)
        u(o, id, event_id, amount, status, seq, balance, note, reference, metadata, cause, at)
    where u.status = 0;

    insert into news (customer_id)
    select distinct p_customers[u.o] from unnest(p_of, statuses) u(o, status) where u.status = 0
    on conflict do nothing;

    update batches t set remaining = u.remaining, open = u.remaining > 0
    from unnest(u_at, u_left) u(at, remaining) where t.ctid = u.at;
    get diagnostics v_count = row_count;
    if v_count <> cardinality(u_at) then
        raise exception 'a batch moved under its lock' using errcode = 'serialization_failure';
    end if;

    update accounts t set balance = u.balance
    from unnest(x_at, x_balance) u(at, balance) where t.ctid = u.at;
    get diagnostics v_count = row_count;
    if v_count <> cardinality(x_at) then
        raise exception 'an account moved under its lock' using errcode = 'serialization_failure';
    end if;

    update heads t set seq = u.seq, entry_seq = u.entry_seq, last_at = u.last_at, day = u.day,
        day_used = u.used
    from unnest(y_at, y_seq, y_entry, y_last, y_day, y_used)
        u(at, seq, entry_seq, last_at, day, used)
    where t.ctid = u.at;
    get diagnostics v_count = row_count;
    if v_count <> cardinality(y_at) then
        raise exception 'a head moved under its lock' using errcode = 'serialization_failure';
    end if;
    return next;
end $$;
