-- no transaction
-- Each table alone, so that no writer waits for more than one lock.

-- The provider's charge through which money went back.
alter table refunds add column if not exists charge_ref text;
alter table disputes add column if not exists charge_ref text;

-- Who is behind whoever asked: the person first, then everybody who could act in his place.
alter table refunds add column if not exists requested_persons text[];
alter table withdrawals add column if not exists requested_persons text[];

-- The person whose key it is, and everybody who has seen its secret.
alter table api_keys add column if not exists owner text;
alter table api_keys add column if not exists seen_by text[];
