-- migrate:up

-- An order that has not ended is looked at again, sooner or later: whoever lets go of one says when. Those
-- that were parked before this was so are looked at in the course of a day.
UPDATE payments SET due_at = now() + random() * interval '1 day'
WHERE due_at IS NULL AND status NOT IN ('succeeded', 'failed', 'canceled');
UPDATE refunds SET due_at = now() + random() * interval '1 day' WHERE due_at IS NULL AND status = 'processing';
UPDATE payouts SET due_at = now() + random() * interval '1 day' WHERE due_at IS NULL AND status = 'processing';

ALTER TABLE payments ADD CONSTRAINT who_has_not_ended_is_looked_at
    CHECK (due_at IS NOT NULL OR status IN ('succeeded', 'failed', 'canceled'));
ALTER TABLE refunds ADD CONSTRAINT who_has_not_ended_is_looked_at
    CHECK (due_at IS NOT NULL OR status IN ('succeeded', 'failed'));
ALTER TABLE payouts ADD CONSTRAINT who_has_not_ended_is_looked_at
    CHECK (due_at IS NOT NULL OR status IN ('succeeded', 'failed'));

-- migrate:down

ALTER TABLE payments DROP CONSTRAINT who_has_not_ended_is_looked_at;
ALTER TABLE refunds DROP CONSTRAINT who_has_not_ended_is_looked_at;
ALTER TABLE payouts DROP CONSTRAINT who_has_not_ended_is_looked_at;
