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

-- Room for the answer beside its claim: then no index has to hear of it, which pays for the one below.
ALTER TABLE idempotency SET (fillfactor = 25);
ALTER TABLE request_claims SET (fillfactor = 25);

-- What has grown old. Not a BRIN: once the young move into the pages that the old have left, its ranges say
-- no more, and each look for the old reads the whole table.
CREATE INDEX request_claims_by_age ON request_claims (created_at);
CREATE INDEX idempotency_by_age ON idempotency (created_at);

-- migrate:down

DROP INDEX idempotency_by_age;
ALTER TABLE idempotency RESET (fillfactor);
DROP TABLE request_claims;
