-- migrate:up

-- The W3C `traceparent` of the commit that opened an order; NULL while traces are off, and in orders of former
-- versions. Workers and webhooks continue that trace.
ALTER TABLE payments ADD COLUMN traceparent text;
ALTER TABLE refunds  ADD COLUMN traceparent text;
ALTER TABLE payouts  ADD COLUMN traceparent text;

-- migrate:down

ALTER TABLE payouts  DROP COLUMN traceparent;
ALTER TABLE refunds  DROP COLUMN traceparent;
ALTER TABLE payments DROP COLUMN traceparent;
