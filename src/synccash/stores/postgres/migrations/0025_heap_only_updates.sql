-- migrate:up

-- No index of payments is on a column that a commit before the end changes, except on `status`: PostgreSQL
-- then writes an update into the same page and into no index, if the page has room (decision 39). Pages that
-- exist keep their fill; dead versions make room in them.
--
-- A worker of the former release finds due payments without the index, by reading the whole table. Only the
-- locks are waited for: dropping an index takes no time.
DROP INDEX payments_due;
DROP INDEX payments_for_a_human;
ALTER TABLE payments SET (fillfactor = 50);
ALTER TABLE attempts SET (fillfactor = 70);

-- A connection keeps the plan of a statement. One that is made just after a small table was analyzed reads the
-- whole table, also when it has grown; without statistics PostgreSQL uses the indexes. Later the tables are
-- vacuumed more often than by default.
ALTER TABLE payments SET (
    autovacuum_vacuum_threshold = 10000, autovacuum_vacuum_scale_factor = 0.05,
    autovacuum_vacuum_insert_threshold = 10000, autovacuum_analyze_threshold = 10000
);
ALTER TABLE attempts SET (
    autovacuum_vacuum_threshold = 10000, autovacuum_vacuum_scale_factor = 0.05,
    autovacuum_vacuum_insert_threshold = 10000, autovacuum_analyze_threshold = 10000
);
ALTER TABLE idempotency SET (
    autovacuum_vacuum_threshold = 10000, autovacuum_vacuum_scale_factor = 0.05,
    autovacuum_vacuum_insert_threshold = 10000, autovacuum_analyze_threshold = 10000
);

-- migrate:down

ALTER TABLE idempotency RESET (
    autovacuum_vacuum_threshold, autovacuum_vacuum_scale_factor, autovacuum_vacuum_insert_threshold,
    autovacuum_analyze_threshold
);
ALTER TABLE attempts RESET (
    fillfactor, autovacuum_vacuum_threshold, autovacuum_vacuum_scale_factor,
    autovacuum_vacuum_insert_threshold, autovacuum_analyze_threshold
);
ALTER TABLE payments RESET (
    fillfactor, autovacuum_vacuum_threshold, autovacuum_vacuum_scale_factor,
    autovacuum_vacuum_insert_threshold, autovacuum_analyze_threshold
);
CREATE INDEX payments_for_a_human ON payments (status_detail, updated_at)
    WHERE status_detail IN ('under_review', 'risk_review');
CREATE INDEX payments_due ON payments (due_at) WHERE due_at IS NOT NULL;
