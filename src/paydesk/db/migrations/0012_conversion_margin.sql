-- What was kept of a conversion, in basis points of what was given and in its minor units.
alter table conversions
    add column margin_bps integer not null default 0,
    add column margin_minor bigint not null default 0;
