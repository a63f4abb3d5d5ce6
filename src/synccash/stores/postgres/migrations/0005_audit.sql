-- migrate:up

-- What operators did by hand: who, when, what, why. Written before it is done.
CREATE TABLE audit (
    position bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at       timestamptz NOT NULL DEFAULT now(),
    actor    text NOT NULL,
    action   text NOT NULL,
    target   text NOT NULL,
    reason   text NOT NULL
);

-- migrate:down

DROP TABLE audit;
