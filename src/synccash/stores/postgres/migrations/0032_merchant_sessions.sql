-- migrate:up

-- When an operator has dealt with a contradiction; NULL: the console still lists it.
ALTER TABLE contradictions ADD COLUMN closed_at timestamptz;

-- The latest runs of `synccash reconcile`: their counts, and their differences up to a maximum.
CREATE TABLE reconciliations (
    id       text PRIMARY KEY,
    at       timestamptz NOT NULL DEFAULT now(),
    rail     text NOT NULL,
    file     text NOT NULL,
    actor    text NOT NULL,
    is_clean boolean NOT NULL,
    counts   json NOT NULL,
    findings json NOT NULL
);
CREATE INDEX reconciliations_by_age ON reconciliations (at);

-- Sessions of merchants' people in the console: each was begun with an API key, and lasts no longer than it.
CREATE TABLE merchant_sessions (
    token_hash bytea PRIMARY KEY CHECK (octet_length(token_hash) = 32),
    api_key_id text NOT NULL REFERENCES api_keys,
    created_at timestamptz NOT NULL DEFAULT now(),
    expires_at timestamptz NOT NULL
);
CREATE INDEX merchant_sessions_by_end ON merchant_sessions (expires_at);
CREATE INDEX merchant_sessions_of_key ON merchant_sessions (api_key_id, created_at);

-- migrate:down

DROP TABLE merchant_sessions;

DROP TABLE reconciliations;

ALTER TABLE contradictions DROP COLUMN closed_at;
