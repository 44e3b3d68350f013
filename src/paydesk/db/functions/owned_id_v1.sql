-- A new id of something that belongs to a customer, as paydesk.ids.new_owned makes it: 48 bits of
-- milliseconds, the version, the customer's tag from its own id, 34 random bits.
create function owned_id_v1(p_customer uuid, p_at timestamptz) returns uuid
language sql volatile parallel safe as $$
    select (lpad(to_hex((extract(epoch from p_at) * 1000)::bigint), 12, '0')
        || '8' || substr(encode(x.own, 'hex'), 14, 10)
        || to_hex((get_byte(x.own, 11) & 12) | (get_byte(x.dice, 0) & 3))
        || encode(substr(x.dice, 13, 4), 'hex'))::uuid
    from (select uuid_send(p_customer) as own, uuid_send(gen_random_uuid()) as dice) x
$$;
