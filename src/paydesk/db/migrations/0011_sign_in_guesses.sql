-- Wrong passwords by the hash of the address that was typed, whether anybody has it or not, so that
-- every process locks an address at the same guess and none tells who exists. A row is forgotten
-- some time after its last guess. staff.failures and staff.locked_until are read no more.
create table sign_in_guesses (
    address_hash bytea primary key,
    failures integer not null check (failures > 0),
    locked_until timestamptz,
    last_at timestamptz not null
);
create index sign_in_guesses_due on sign_in_guesses (last_at);
