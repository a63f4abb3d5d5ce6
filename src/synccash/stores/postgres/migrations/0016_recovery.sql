-- migrate:up

-- One row. `epoch` counts the recoveries that have begun; while `active`, nothing is sent. The system
-- identifier and the timeline name the server whose data this is: a database that was restored elsewhere, or
-- a standby that was promoted, has others, and may lack commits whose money has moved.
CREATE TABLE recovery (
    only_row          boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    epoch             integer NOT NULL DEFAULT 0 CHECK (epoch >= 0),
    active            boolean NOT NULL DEFAULT false,
    system_identifier bigint NOT NULL,
    timeline          text NOT NULL,
    reason            text,
    entered_by        text,
    entered_at        timestamptz,
    released_by       text,
    released_at       timestamptz
);
INSERT INTO recovery (system_identifier, timeline)
    SELECT system_identifier, left(pg_walfile_name(pg_current_wal_lsn()), 8) FROM pg_control_system();

-- The epoch that an order has nothing to do with any more: it was opened in it, or the rails were asked about
-- its lost attempts since. An order of an earlier epoch is searched for before anything is sent for it.
ALTER TABLE payments ADD COLUMN recovery_epoch integer NOT NULL DEFAULT 0;
ALTER TABLE refunds  ADD COLUMN recovery_epoch integer NOT NULL DEFAULT 0;
ALTER TABLE payouts  ADD COLUMN recovery_epoch integer NOT NULL DEFAULT 0;

-- What names a refund among those of its payment, also where its row was lost.
ALTER TABLE refunds ADD COLUMN identity text;
CREATE UNIQUE INDEX a_refunds_identity_is_used_once ON refunds (payment_id, identity);

-- The id of the key that the reference was derived with; NULL where it was random.
ALTER TABLE attempts ADD COLUMN reference_key text;

-- An adopted attempt was sent long ago: its row is no permission to send. It may say that money has moved.
DROP TRIGGER known_money_stops_attempts ON attempts;
CREATE TRIGGER known_money_stops_attempts AFTER INSERT ON attempts FOR EACH ROW
    WHEN (NEW.sequence > 1 AND NEW.retry_decision IS DISTINCT FROM 'adopted')
    EXECUTE FUNCTION refuse_after_known_money('no other attempt is opened');

-- migrate:down

DROP TRIGGER known_money_stops_attempts ON attempts;
CREATE TRIGGER known_money_stops_attempts AFTER INSERT ON attempts FOR EACH ROW
    WHEN (NEW.sequence > 1) EXECUTE FUNCTION refuse_after_known_money('no other attempt is opened');

ALTER TABLE attempts DROP COLUMN reference_key;
DROP INDEX a_refunds_identity_is_used_once;
ALTER TABLE refunds DROP COLUMN identity;
ALTER TABLE payouts DROP COLUMN recovery_epoch;
ALTER TABLE refunds DROP COLUMN recovery_epoch;
ALTER TABLE payments DROP COLUMN recovery_epoch;
DROP TABLE recovery;
