-- migrate:up

-- Claims of requests that open no order: the middleware keeps them itself.
CREATE TABLE request_claims (
    scope        text NOT NULL,
    key          text NOT NULL,
    fingerprint  bytea NOT NULL,
    state        text NOT NULL CHECK (state IN ('processing', 'completed', 'failed')),
    fence        bigint NOT NULL CHECK (fence >= 1),
    lease_until  timestamptz NOT NULL,
    status       integer CHECK (status BETWEEN 200 AND 599),
    headers      json,
    body         bytea,
    created_at   timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (scope, key),
    CONSTRAINT an_answer_completes CHECK ((state = 'completed') = (status IS NOT NULL))
);

-- Rows come in the order of their birth, so the smallest index there is finds what has grown old.
CREATE INDEX request_claims_by_age ON request_claims USING brin (created_at) WITH (pages_per_range = 16);
CREATE INDEX idempotency_by_age ON idempotency USING brin (created_at) WITH (pages_per_range = 16);

-- migrate:down

DROP INDEX idempotency_by_age;
DROP TABLE request_claims;
