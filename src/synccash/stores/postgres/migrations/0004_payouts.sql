-- migrate:up

-- Money sent to a wallet. What is held in common with payments is explained there.
CREATE TABLE payouts (
    id                      text PRIMARY KEY,
    merchant_id             text NOT NULL,
    livemode                boolean NOT NULL,
    reference               text NOT NULL,
    amount                  bigint NOT NULL CHECK (amount BETWEEN 1 AND 1000000000000),
    currency                text NOT NULL,
    payee_msisdn            text NOT NULL,
    payee_network           text,
    payee_name              text,
    created_at              timestamptz NOT NULL,
    updated_at              timestamptz NOT NULL,
    expires_at              timestamptz NOT NULL,
    status                  text NOT NULL CHECK (status IN ('processing', 'succeeded', 'failed')),
    status_detail           text,
    pinned_rail             text,
    rail                    text,
    provider_transaction_id text,
    last_error              json,
    attempt_count           integer NOT NULL CHECK (attempt_count >= 0),
    description             text,
    metadata                json NOT NULL,
    routing                 json NOT NULL,
    version                 bigint NOT NULL CHECK (version >= 1),
    fence                   bigint NOT NULL CHECK (fence >= 1),
    lease_until             timestamptz,
    due_at                  timestamptz,
    hinted                  boolean NOT NULL DEFAULT false,
    move_id                 text NOT NULL,
    CONSTRAINT a_payouts_reference_is_used_once UNIQUE (merchant_id, livemode, reference)
);
CREATE INDEX payouts_due ON payouts (due_at) WHERE due_at IS NOT NULL;
CREATE INDEX payouts_newest ON payouts (merchant_id, livemode, created_at, id);
CREATE TRIGGER an_end_absorbs BEFORE UPDATE OF status ON payouts FOR EACH ROW
    WHEN (OLD.status IN ('succeeded', 'failed') AND NEW.status <> OLD.status)
    EXECUTE FUNCTION refuse_to_leave_an_end('a final status');

ALTER TABLE attempts DROP CONSTRAINT attempts_operation_check;
ALTER TABLE attempts
    ADD CONSTRAINT attempts_operation_check CHECK (operation IN ('collect', 'refund', 'payout')),
    ADD COLUMN payout_id text GENERATED ALWAYS AS (CASE operation WHEN 'payout' THEN order_id END) STORED
        REFERENCES payouts,
    -- What a callback claimed; the newest claim stands, and no commit of an attempt writes it.
    ADD COLUMN reported_failure json;
-- Statements of rails are compared with what was sent in a period.
CREATE INDEX attempts_of_rail ON attempts (rail, started_at);

-- A rail without a name for refunds tells two of one payment apart only while one of them is over.
-- Money that came too much goes back by itself once.
ALTER TABLE refunds
    ADD COLUMN surplus boolean NOT NULL DEFAULT false,
    ADD COLUMN exclusive boolean NOT NULL DEFAULT false;
CREATE UNIQUE INDEX one_exclusive_refund_at_a_time ON refunds (payment_id)
    WHERE exclusive AND status = 'processing';
CREATE UNIQUE INDEX one_automatic_refund_of_a_surplus ON refunds (attempt_id) WHERE surplus;

-- migrate:down

DROP INDEX one_automatic_refund_of_a_surplus, one_exclusive_refund_at_a_time, attempts_of_rail;
ALTER TABLE refunds DROP COLUMN surplus, DROP COLUMN exclusive;
ALTER TABLE attempts DROP COLUMN payout_id, DROP COLUMN reported_failure;
ALTER TABLE attempts DROP CONSTRAINT attempts_operation_check;
ALTER TABLE attempts ADD CONSTRAINT attempts_operation_check CHECK (operation IN ('collect', 'refund'));
DROP TABLE payouts;
