-- migrate:up transaction:false

-- The erasure finds the events of orders by it; without it, each 500 orders of the retention read the whole table.
CREATE INDEX CONCURRENTLY IF NOT EXISTS events_of_object ON events (object_id);

-- migrate:down transaction:false

DROP INDEX CONCURRENTLY IF EXISTS events_of_object;
