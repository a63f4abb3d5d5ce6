-- migrate:up

-- An index by hand: the payments that are due at some time, with a time at which to look at each, `look_at`,
-- never later than `due_at`. An index of payments on `due_at`, which nearly every commit changes, would make
-- each commit write a new entry in all indexes of payments; this table is written when a payment is opened,
-- when it becomes due earlier, and when it ends (decision 39).
--
-- The row of a payment is written only under the lock of the payment's own row, by the trigger below, so
-- processes of the former release, which know nothing of it, keep it right too.

CREATE TABLE due_payments (
    payment_id text PRIMARY KEY,
    look_at    timestamptz NOT NULL,
    in_review  boolean NOT NULL
) WITH (
    fillfactor = 70, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000,
    autovacuum_analyze_scale_factor = 0, autovacuum_analyze_threshold = 10000
);
CREATE INDEX due_payments_in_order ON due_payments (look_at);
CREATE INDEX due_payments_in_review ON due_payments (payment_id) WHERE in_review;

ALTER TABLE payments ADD COLUMN look_at timestamptz;

CREATE FUNCTION keep_due_payment() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.due_at IS NULL THEN
        NEW.look_at := NULL;
        DELETE FROM due_payments WHERE payment_id = NEW.id;
        RETURN NEW;
    END IF;
    NEW.look_at := least(NEW.look_at, NEW.due_at);
    INSERT INTO due_payments (payment_id, look_at, in_review)
    VALUES (NEW.id, NEW.look_at, coalesce(NEW.status_detail IN ('under_review', 'risk_review'), false))
    ON CONFLICT (payment_id) DO UPDATE SET look_at = excluded.look_at, in_review = excluded.in_review;
    RETURN NEW;
END
$$;
CREATE TRIGGER due_payment_of_new BEFORE INSERT ON payments FOR EACH ROW
    WHEN (NEW.due_at IS NOT NULL) EXECUTE FUNCTION keep_due_payment();
CREATE TRIGGER due_payment_of_changed BEFORE UPDATE OF due_at, look_at, status_detail ON payments FOR EACH ROW
    WHEN ((NEW.due_at IS NULL) <> (OLD.due_at IS NULL) OR NEW.due_at IS NOT NULL AND (
        NEW.look_at IS NULL OR NEW.look_at > NEW.due_at OR NEW.look_at IS DISTINCT FROM OLD.look_at
        OR coalesce(NEW.status_detail IN ('under_review', 'risk_review'), false)
            <> coalesce(OLD.status_detail IN ('under_review', 'risk_review'), false)
    ))
    EXECUTE FUNCTION keep_due_payment();

-- Nothing reads or writes payments until this ends. It reads the index on due times, which 0025 drops, so it
-- takes about a second for 100,000 open payments.
INSERT INTO due_payments (payment_id, look_at, in_review)
SELECT id, due_at, coalesce(status_detail IN ('under_review', 'risk_review'), false)
FROM payments WHERE due_at IS NOT NULL;

-- From now on the triggers write this table for processes that run already.
DO $$
DECLARE
    role text;
BEGIN
    FOR role IN
        SELECT DISTINCT grantee FROM information_schema.role_table_grants
        WHERE table_schema = 'public' AND table_name = 'payments' AND privilege_type = 'INSERT'
            AND grantee <> 'PUBLIC'
    LOOP
        EXECUTE format('GRANT SELECT, INSERT, UPDATE, DELETE ON due_payments TO %I', role);
    END LOOP;
END
$$;

-- migrate:down

DROP TRIGGER due_payment_of_changed ON payments;
DROP TRIGGER due_payment_of_new ON payments;
DROP FUNCTION keep_due_payment;
ALTER TABLE payments DROP COLUMN look_at;
DROP TABLE due_payments;
