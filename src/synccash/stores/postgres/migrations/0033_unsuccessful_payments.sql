-- migrate:up

-- An index by hand: the payments that ended without success, for lists by status. An index of payments on the
-- status would make every commit that changes it write a new entry in all indexes of payments; this table is
-- written only when a payment fails or is canceled, and a success writes nothing (decision 48). A final status
-- never changes, so neither does a row.
--
-- Triggers write it in the transaction of the end, so processes of the former release, which know nothing of
-- it, keep it right too. 0034 fills it: whoever ended a payment before these triggers has committed by then,
-- because creating them waits for writers.

CREATE TABLE unsuccessful_payments (
    merchant_id text NOT NULL,
    livemode    boolean NOT NULL,
    status      text NOT NULL CHECK (status IN ('failed', 'canceled')),
    created_at  timestamptz NOT NULL,
    payment_id  text NOT NULL,
    PRIMARY KEY (merchant_id, livemode, status, created_at, payment_id)
) WITH (autovacuum_analyze_threshold = 10000, autovacuum_vacuum_insert_threshold = 10000);

CREATE FUNCTION keep_unsuccessful_payment() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO unsuccessful_payments (merchant_id, livemode, status, created_at, payment_id)
    VALUES (NEW.merchant_id, NEW.livemode, NEW.status, NEW.created_at, NEW.id)
    ON CONFLICT DO NOTHING;
    RETURN NULL;
END
$$;
CREATE TRIGGER unsuccessful_payment_of_new AFTER INSERT ON payments FOR EACH ROW
    WHEN (NEW.status IN ('failed', 'canceled')) EXECUTE FUNCTION keep_unsuccessful_payment();
CREATE TRIGGER unsuccessful_payment_of_changed AFTER UPDATE OF status ON payments FOR EACH ROW
    WHEN (NEW.status IN ('failed', 'canceled') AND OLD.status <> NEW.status)
    EXECUTE FUNCTION keep_unsuccessful_payment();

-- Open payments are listed through due_payments. The merchant is NULL in rows from before this migration.
ALTER TABLE due_payments ADD COLUMN merchant_id text, ADD COLUMN livemode boolean;
CREATE OR REPLACE FUNCTION keep_due_payment() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.due_at IS NULL THEN
        NEW.look_at := NULL;
        DELETE FROM due_payments WHERE payment_id = NEW.id;
        RETURN NEW;
    END IF;
    NEW.look_at := least(NEW.look_at, NEW.due_at);
    INSERT INTO due_payments (payment_id, look_at, in_review, merchant_id, livemode)
    VALUES (
        NEW.id, NEW.look_at, coalesce(NEW.status_detail IN ('under_review', 'risk_review'), false),
        NEW.merchant_id, NEW.livemode
    )
    ON CONFLICT (payment_id) DO UPDATE SET look_at = excluded.look_at, in_review = excluded.in_review,
        merchant_id = excluded.merchant_id, livemode = excluded.livemode;
    RETURN NEW;
END
$$;

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
        EXECUTE format('GRANT SELECT, INSERT ON unsuccessful_payments TO %I', role);
    END LOOP;
END
$$;

-- migrate:down

CREATE OR REPLACE FUNCTION keep_due_payment() RETURNS trigger LANGUAGE plpgsql AS $$
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
ALTER TABLE due_payments DROP COLUMN livemode, DROP COLUMN merchant_id;
DROP TRIGGER unsuccessful_payment_of_changed ON payments;
DROP TRIGGER unsuccessful_payment_of_new ON payments;
DROP FUNCTION keep_unsuccessful_payment;
DROP TABLE unsuccessful_payments;
