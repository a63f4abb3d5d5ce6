-- migrate:up

-- What identifies people, and what merchants write freely, is in one encrypted value for each row; the key is
-- in the settings of the service. Rows that were written before have their values in the plain columns, until
-- `synccash encryption seal` has moved them.
--
-- In a row with `sealed`, the columns that rows are found by (reference, payer_msisdn, payee_msisdn, and the
-- key of idempotency) hold a keyed hash of 22 characters, and the other plain columns are empty. A process of
-- an earlier release cannot read such a row: it sets the order aside, and sends nothing for it.
ALTER TABLE payments ADD COLUMN sealed bytea, ADD COLUMN erased_at timestamptz;
ALTER TABLE payouts ADD COLUMN sealed bytea, ADD COLUMN erased_at timestamptz;
ALTER TABLE refunds ADD COLUMN sealed bytea;
ALTER TABLE timeline ADD COLUMN sealed bytea;
ALTER TABLE webhook_endpoints ADD COLUMN sealed bytea;

-- NOT VALID: old rows meet it, and a scan of these tables under the lock would hold up payments.
ALTER TABLE events
    ADD COLUMN sealed bytea,
    ALTER COLUMN data DROP NOT NULL,
    ADD CONSTRAINT an_event_has_its_data CHECK ((data IS NULL) <> (sealed IS NULL)) NOT VALID;
ALTER TABLE idempotency
    ADD COLUMN sealed_body bytea,
    DROP CONSTRAINT an_answer_is_whole,
    ADD CONSTRAINT an_answer_is_whole
        CHECK ((status IS NULL) = (body IS NULL AND sealed_body IS NULL)) NOT VALID;

-- migrate:down

-- Encrypted values would be lost: this fails as long as there are any.
DO $$
BEGIN
    IF EXISTS (SELECT FROM payments WHERE sealed IS NOT NULL)
        OR EXISTS (SELECT FROM payouts WHERE sealed IS NOT NULL)
        OR EXISTS (SELECT FROM refunds WHERE sealed IS NOT NULL)
        OR EXISTS (SELECT FROM events WHERE sealed IS NOT NULL)
        OR EXISTS (SELECT FROM timeline WHERE sealed IS NOT NULL)
        OR EXISTS (SELECT FROM webhook_endpoints WHERE sealed IS NOT NULL)
        OR EXISTS (SELECT FROM idempotency WHERE sealed_body IS NOT NULL) THEN
        RAISE EXCEPTION 'the database holds encrypted values, which the former schema cannot store';
    END IF;
END
$$;
ALTER TABLE idempotency
    DROP CONSTRAINT an_answer_is_whole,
    DROP COLUMN sealed_body,
    ADD CONSTRAINT an_answer_is_whole CHECK ((status IS NULL) = (body IS NULL));
ALTER TABLE events
    DROP CONSTRAINT an_event_has_its_data,
    DROP COLUMN sealed,
    ALTER COLUMN data SET NOT NULL;
ALTER TABLE webhook_endpoints DROP COLUMN sealed;
ALTER TABLE timeline DROP COLUMN sealed;
ALTER TABLE refunds DROP COLUMN sealed;
ALTER TABLE payouts DROP COLUMN sealed, DROP COLUMN erased_at;
ALTER TABLE payments DROP COLUMN sealed, DROP COLUMN erased_at;
