-- migrate:up

-- The processes that commit orders. After a failover each tells whether the new server has the commits that
-- were acknowledged to it. `synchronous`: whether commits waited for a standby at `seen_at`; NULL for a process
-- that started during a recovery. `vouched_for` names the recovery in which the process missed no commit.
CREATE TABLE witnesses (
    process     text PRIMARY KEY,
    seen_at     timestamptz NOT NULL DEFAULT now(),
    synchronous boolean,
    vouched_for text
);

-- migrate:down

DROP TABLE witnesses;
