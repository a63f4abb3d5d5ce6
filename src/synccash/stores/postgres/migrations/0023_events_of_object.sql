-- migrate:up

-- The erasure finds the events of orders by it; without it, each 500 orders of the retention read the whole table.
-- The table is locked against writes while it is built. CONCURRENTLY would wait for a second `synccash migrate`,
-- which waits for this one.
CREATE INDEX events_of_object ON events (object_id);

-- migrate:down

DROP INDEX events_of_object;
