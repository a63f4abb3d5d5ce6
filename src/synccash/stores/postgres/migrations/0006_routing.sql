-- migrate:up

-- What each rail is called in public. A change is told once, whoever of the fleet sees it first: by who
-- changes this row.
CREATE TABLE rail_standings (
    rail      text NOT NULL,
    operation text NOT NULL,
    standing  text NOT NULL CHECK (standing IN ('healthy', 'degraded')),
    since     timestamptz NOT NULL DEFAULT now(),
    version   bigint NOT NULL CHECK (version >= 1),
    PRIMARY KEY (rail, operation)
);

-- Payers whose wallet is proven to be on another network than their number says. No number is in here: the
-- payer is a keyed hash over merchant, mode and number, and the key below is not in a copy of this table.
CREATE TABLE payer_networks (
    payer   bytea PRIMARY KEY CHECK (octet_length(payer) = 16),
    network text NOT NULL CHECK (network IN ('mtn', 'telecel', 'at')),
    seen_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX payer_networks_by_age ON payer_networks (seen_at);

CREATE TABLE installation_keys (
    purpose text PRIMARY KEY,
    secret  bytea NOT NULL CHECK (octet_length(secret) = 32)
);

-- migrate:down

DROP TABLE installation_keys, payer_networks, rail_standings;
