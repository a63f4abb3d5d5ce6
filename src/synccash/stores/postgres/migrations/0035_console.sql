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

-- migrate:down

DROP TABLE reconciliations;

ALTER TABLE contradictions DROP COLUMN closed_at;
