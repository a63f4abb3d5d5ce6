-- migrate:up transaction:false

-- No index of payments is on a column that a commit changes (decision 48). A process of the former release
-- that lists payments by status reads the index of the newest payments instead: right, but slower.
DROP INDEX CONCURRENTLY IF EXISTS payments_not_succeeded;

-- migrate:down transaction:false

CREATE INDEX CONCURRENTLY IF NOT EXISTS payments_not_succeeded
    ON payments (merchant_id, livemode, status, created_at, id) WHERE status <> 'succeeded';
