-- The hash that seals a customer's events after p_seq up to p_to and transfers after p_entry up to
-- p_entry_to, over the seal before. Every column that says something is in it, in a fixed form.
create function seal_v1(
    p_before bytea, p_customer uuid, p_seq bigint, p_to bigint, p_entry bigint, p_entry_to bigint
) returns bytea
language sql stable
as $$
    select sha256(coalesce(p_before, ''::bytea) || convert_to(concat_ws(E'\n', p_customer::text, (
        select string_agg(jsonb_build_array(e.seq, e.id, e.type, e.subject_id, e.data, e.cause,
            (extract(epoch from e.created_at) * 1000000)::bigint)::text, E'\n' order by e.seq)
        from events e
        where e.customer_id = p_customer and e.seq > p_seq and e.seq <= p_to
    ), (
        select string_agg(jsonb_build_array(t.seq, t.id, t.txn_id, t.debit, t.credit, t.asset,
            t.amount, t.debit_after, t.credit_after, t.reason, t.subject_id, t.reverses_id,
            t.request_key, t.request_hash, t.note, t.reference, t.metadata,
            (extract(epoch from t.effective_at) * 1000000)::bigint)::text, E'\n' order by t.seq)
        from transfers t
        where t.customer_id = p_customer and t.seq > p_entry and t.seq <= p_entry_to
    )), 'utf8'))
$$;
