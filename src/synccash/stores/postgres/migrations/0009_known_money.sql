-- migrate:up

-- moved_at     when the rail was first heard to have moved money against what was believed or asked for
-- reversed_at  when it was heard to have taken that money back
-- not_founds   the latest answers in a row that did not find the reference
ALTER TABLE attempts
    ADD COLUMN moved_at    timestamptz,
    ADD COLUMN reversed_at timestamptz,
    ADD COLUMN not_founds  integer NOT NULL DEFAULT 0 CHECK (not_founds >= 0);
UPDATE attempts SET moved_at = told.recorded_at FROM (
    SELECT a.id, min(c.recorded_at) AS recorded_at
    FROM contradictions c, json_array_elements_text(c.attempts) AS a(id)
    WHERE c.kind = 'amount_differs' GROUP BY a.id
) told WHERE attempts.id = told.id;

-- The attempt whose money a succeeded payment stands for; NULL in those that succeeded before this column.
ALTER TABLE payments ADD COLUMN paid_by text;

-- The last wall behind the engine's own guard: once an attempt of an order is known to have moved money, no
-- other attempt opens, none is sent again, and the order is neither canceled nor expired.
CREATE FUNCTION refuse_after_known_money() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    order_of_row text := CASE TG_TABLE_NAME WHEN 'attempts' THEN to_jsonb(NEW) ->> 'order_id' ELSE NEW.id END;
BEGIN
    IF EXISTS (
        SELECT FROM attempts a WHERE a.order_id = order_of_row
            AND (a.state = 'succeeded' OR a.moved_at IS NOT NULL OR a.amount_received > 0)
    ) THEN
        RAISE EXCEPTION '% has moved money: %', order_of_row, TG_ARGV[0]
            USING ERRCODE = 'check_violation', CONSTRAINT = 'known_money_stops_everything';
    END IF;
    RETURN NEW;
END
$$;
CREATE TRIGGER known_money_stops_attempts AFTER INSERT ON attempts FOR EACH ROW
    WHEN (NEW.sequence > 1) EXECUTE FUNCTION refuse_after_known_money('no other attempt is opened');
CREATE TRIGGER known_money_stops_sends BEFORE UPDATE OF sends ON attempts FOR EACH ROW
    WHEN (NEW.sends > OLD.sends) EXECUTE FUNCTION refuse_after_known_money('nothing is sent again');
CREATE TRIGGER known_money_stops_cancelling BEFORE UPDATE OF status ON payments FOR EACH ROW
    WHEN (OLD.status <> NEW.status AND (NEW.status = 'canceled' OR NEW.status_detail = 'expired'))
    EXECUTE FUNCTION refuse_after_known_money('it is neither canceled nor expired');
CREATE TRIGGER known_money_stops_expiry BEFORE UPDATE OF status ON payouts FOR EACH ROW
    WHEN (OLD.status <> NEW.status AND NEW.status_detail = 'expired')
    EXECUTE FUNCTION refuse_after_known_money('it does not expire');

-- A rail without a name for refunds tells the refunds of one debit apart by listing them; those of another
-- debit, perhaps at another rail, are no part of that list.
DROP INDEX one_exclusive_refund_at_a_time;
CREATE UNIQUE INDEX one_exclusive_refund_at_a_time ON refunds (attempt_id)
    WHERE exclusive AND status = 'processing';

-- Orders whose rows this version could not read, as of its latest try: a row of a newer version, or a broken
-- one. Each is left alone for a while, so that others go on and a process that can read it takes it.
CREATE TABLE unreadable_orders (
    order_id   text PRIMARY KEY,
    error      text NOT NULL,
    times      integer NOT NULL DEFAULT 1 CHECK (times >= 1),
    first_seen timestamptz NOT NULL DEFAULT now(),
    last_seen  timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX unreadable_orders_by_age ON unreadable_orders (last_seen);

-- migrate:down

DROP TABLE unreadable_orders;
DROP INDEX one_exclusive_refund_at_a_time;
CREATE UNIQUE INDEX one_exclusive_refund_at_a_time ON refunds (payment_id)
    WHERE exclusive AND status = 'processing';
DROP TRIGGER known_money_stops_expiry ON payouts;
DROP TRIGGER known_money_stops_cancelling ON payments;
DROP TRIGGER known_money_stops_sends ON attempts;
DROP TRIGGER known_money_stops_attempts ON attempts;
DROP FUNCTION refuse_after_known_money;
ALTER TABLE payments DROP COLUMN paid_by;
ALTER TABLE attempts DROP COLUMN moved_at, DROP COLUMN reversed_at, DROP COLUMN not_founds;
