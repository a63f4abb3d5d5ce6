-- migrate:up

-- How many orders ended in each minute, and how long they took: the history that consoles and commands show
-- without counting orders. Only closed lists are in the key, never a value of a merchant or payer. An empty
-- text stands for none. `durations` has one count for each bucket of payments/history.py.
CREATE TABLE order_rollups (
    minute       timestamptz NOT NULL,
    livemode     boolean NOT NULL,
    kind         text NOT NULL,
    rail         text NOT NULL,
    network      text NOT NULL,
    status       text NOT NULL,
    failure_code text NOT NULL,
    orders       bigint NOT NULL CHECK (orders > 0),
    seconds      double precision NOT NULL,
    durations    bigint[] NOT NULL,
    PRIMARY KEY (minute, livemode, kind, rail, network, status, failure_code)
);

-- One row. Events of transactions before `xact` are in the rollups. Whoever adds to them moves it in the same
-- statement, so an ended order counts once. `since`: events from before are never counted, because a restore
-- into another cluster gives old events numbers that come again.
CREATE TABLE order_rollup_cursor (
    only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    xact     xid8 NOT NULL,
    since    timestamptz NOT NULL
);
INSERT INTO order_rollup_cursor (xact, since) VALUES ('0', '-infinity');

-- migrate:down

DROP TABLE order_rollup_cursor, order_rollups;
