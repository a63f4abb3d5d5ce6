-- migrate:up

CREATE TABLE merchants (
    id         text PRIMARY KEY,
    name       text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now()
);

-- A key is stored as its SHA-256 only: what the database holds opens nothing.
CREATE TABLE api_keys (
    id          text PRIMARY KEY,
    secret_hash bytea NOT NULL UNIQUE CHECK (octet_length(secret_hash) = 32),
    role        text NOT NULL CHECK (role IN ('merchant', 'admin')),
    merchant_id text REFERENCES merchants,
    livemode    boolean NOT NULL,
    created_at  timestamptz NOT NULL DEFAULT now(),
    revoked_at  timestamptz,
    CONSTRAINT an_operator_belongs_to_no_merchant CHECK ((role = 'admin') = (merchant_id IS NULL))
);

-- The last wall behind the transition tables of the domain: no correct program ever hits it.
CREATE FUNCTION refuse_to_leave_an_end() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '% % has ended: % cannot become another state', TG_TABLE_NAME, OLD.id, TG_ARGV[0]
        USING ERRCODE = 'check_violation', CONSTRAINT = 'an_end_absorbs';
END
$$;

-- Money in pesewas. What one holder knows and may do is on the order itself:
--   fence        counts its holders; who writes names the fence that he was given
--   lease_until  until when the holder is believed alive; NULL = nobody holds it
--   due_at       when somebody has to look at it: the end of the lease while it is held, '-infinity' after a
--                hint, NULL when nothing is left to do. One index finds all work.
--   hinted       a callback came; while the order is held it waits here for the release
--   move_id      the last commit, so that one in doubt can be looked up
-- No foreign key to merchants: it would make every payment lock the merchant's one row. Merchants are never
-- deleted, and their ids come from api_keys, which has the key.
CREATE TABLE payments (
    id                      text PRIMARY KEY,
    merchant_id             text NOT NULL,
    livemode                boolean NOT NULL,
    reference               text NOT NULL,
    amount                  bigint NOT NULL CHECK (amount BETWEEN 1 AND 1000000000000),
    currency                text NOT NULL,
    payer_msisdn            text NOT NULL,
    payer_network           text,
    created_at              timestamptz NOT NULL,
    updated_at              timestamptz NOT NULL,
    expires_at              timestamptz NOT NULL,
    status                  text NOT NULL CHECK (status IN
                                ('created', 'requires_action', 'processing', 'succeeded', 'failed', 'canceled')),
    status_detail           text,
    pinned_rail             text,
    rail                    text,
    provider_transaction_id text,
    next_action             json,
    last_error              json,
    amount_received         bigint NOT NULL CHECK (amount_received >= 0),
    amount_refunded         bigint NOT NULL CHECK (amount_refunded >= 0),
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
    CONSTRAINT refunded_at_most_what_came CHECK (amount_refunded <= amount_received),
    CONSTRAINT a_reference_is_used_once UNIQUE (merchant_id, livemode, reference)
);
CREATE INDEX payments_due ON payments (due_at) WHERE due_at IS NOT NULL;
CREATE INDEX payments_newest ON payments (merchant_id, livemode, created_at, id);
CREATE INDEX payments_of_payer ON payments (merchant_id, livemode, payer_msisdn, created_at, id);
-- Most payments end well; what a merchant looks for by status is the rest.
CREATE INDEX payments_not_succeeded ON payments (merchant_id, livemode, status, created_at, id)
    WHERE status <> 'succeeded';
CREATE TRIGGER an_end_absorbs BEFORE UPDATE OF status ON payments FOR EACH ROW
    WHEN (OLD.status IN ('succeeded', 'failed', 'canceled') AND NEW.status <> OLD.status)
    EXECUTE FUNCTION refuse_to_leave_an_end('a final status');

CREATE TABLE refunds (
    id            text PRIMARY KEY,
    merchant_id   text NOT NULL,
    livemode      boolean NOT NULL,
    payment_id    text NOT NULL REFERENCES payments,
    attempt_id    text NOT NULL,
    amount        bigint NOT NULL CHECK (amount BETWEEN 1 AND 1000000000000),
    currency      text NOT NULL,
    created_at    timestamptz NOT NULL,
    updated_at    timestamptz NOT NULL,
    status        text NOT NULL CHECK (status IN ('processing', 'succeeded', 'failed')),
    status_detail text,
    rail          text,
    reason        text,
    last_error    json,
    version       bigint NOT NULL CHECK (version >= 1),
    fence         bigint NOT NULL CHECK (fence >= 1),
    lease_until   timestamptz,
    due_at        timestamptz,
    hinted        boolean NOT NULL DEFAULT false,
    move_id       text NOT NULL
);
CREATE INDEX refunds_due ON refunds (due_at) WHERE due_at IS NOT NULL;
CREATE INDEX refunds_of_payment ON refunds (payment_id);
CREATE TRIGGER an_end_absorbs BEFORE UPDATE OF status ON refunds FOR EACH ROW
    WHEN (OLD.status IN ('succeeded', 'failed') AND NEW.status <> OLD.status)
    EXECUTE FUNCTION refuse_to_leave_an_end('a final status');

-- One reference at one rail. The operation says whether the order is a payment or a refund.
CREATE TABLE attempts (
    id                      text PRIMARY KEY,
    order_id                text NOT NULL,
    sequence                integer NOT NULL CHECK (sequence >= 1),
    operation               text NOT NULL CHECK (operation IN ('collect', 'refund')),
    payment_id              text GENERATED ALWAYS AS (CASE operation WHEN 'collect' THEN order_id END) STORED
                                REFERENCES payments,
    refund_id               text GENERATED ALWAYS AS (CASE operation WHEN 'refund' THEN order_id END) STORED
                                REFERENCES refunds,
    rail                    text NOT NULL,
    account                 text NOT NULL,
    base_url                text NOT NULL,
    target_environment      text NOT NULL,
    reference               uuid NOT NULL CONSTRAINT an_attempt_has_its_own_reference UNIQUE,
    callback_token          text NOT NULL CONSTRAINT an_attempt_has_its_own_token UNIQUE,
    amount                  bigint NOT NULL CHECK (amount BETWEEN 1 AND 1000000000000),
    opened_fence            bigint NOT NULL,
    started_at              timestamptz NOT NULL,
    state                   text NOT NULL CHECK (state IN
                                ('prepared', 'acknowledged', 'unknown', 'succeeded', 'declined', 'not_sent')),
    evidence                text CHECK (evidence IN
                                ('not_sent', 'refused_later', 'refused_final', 'ambiguous', 'accepted')),
    sends                   integer NOT NULL CHECK (sends >= 1),
    inquiries               integer NOT NULL CHECK (inquiries >= 0),
    quiet_since             timestamptz,
    latency_ms              bigint,
    provider_code           text,
    provider_transaction_id text,
    failure                 json,
    retry_decision          text,
    amount_received         bigint NOT NULL CHECK (amount_received >= 0),
    refund_reserved         bigint NOT NULL CHECK (refund_reserved >= 0),
    CONSTRAINT reserved_at_most_what_came CHECK (refund_reserved <= amount_received),
    CONSTRAINT an_attempt_has_its_own_place UNIQUE (order_id, sequence)
);
CREATE UNIQUE INDEX one_attempt_that_may_move_money ON attempts (order_id)
    WHERE state IN ('prepared', 'acknowledged', 'unknown', 'succeeded');
CREATE TRIGGER an_end_absorbs BEFORE UPDATE OF state ON attempts FOR EACH ROW
    WHEN (OLD.state IN ('succeeded', 'declined', 'not_sent') AND NEW.state <> OLD.state)
    EXECUTE FUNCTION refuse_to_leave_an_end('a final state');

ALTER TABLE refunds ADD CONSTRAINT a_refund_names_its_debit FOREIGN KEY (attempt_id) REFERENCES attempts;

-- What a repeat of a request is told. Without a status the first request is still running.
CREATE TABLE idempotency (
    scope        text NOT NULL,
    key          text NOT NULL,
    fingerprint  bytea NOT NULL,
    order_id     text NOT NULL UNIQUE,
    status       integer CHECK (status BETWEEN 200 AND 599),
    body         bytea,
    created_at   timestamptz NOT NULL DEFAULT now(),
    completed_at timestamptz,
    PRIMARY KEY (scope, key),
    CONSTRAINT an_answer_is_whole CHECK ((status IS NULL) = (body IS NULL))
);

-- `xact` before `position`: numbers are given before commits become visible, and a reader who only counted
-- them would skip the slow ones. Whoever reads below pg_snapshot_xmin(pg_current_snapshot()), in this order,
-- sees every event once. After a restore into a new cluster: UPDATE events SET xact = '0'.
CREATE TABLE events (
    id             text PRIMARY KEY,
    position       bigint GENERATED ALWAYS AS IDENTITY,
    xact           xid8 NOT NULL DEFAULT pg_current_xact_id(),
    merchant_id    text NOT NULL,
    livemode       boolean NOT NULL,
    type           text NOT NULL,
    created_at     timestamptz NOT NULL,
    object_id      text NOT NULL,
    object_version bigint NOT NULL,
    data           json NOT NULL
);
CREATE INDEX events_in_order ON events (merchant_id, livemode, xact, position);

CREATE TABLE timeline (
    order_id text NOT NULL,
    position bigint GENERATED ALWAYS AS IDENTITY,
    at       timestamptz NOT NULL,
    kind     text NOT NULL,
    data     json NOT NULL,
    PRIMARY KEY (order_id, position)
);

-- The rail's book and ours disagree: for a human.
CREATE TABLE contradictions (
    move_id     text PRIMARY KEY,
    order_id    text NOT NULL,
    kind        text NOT NULL,
    attempts    json NOT NULL,
    recorded_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX contradictions_of_order ON contradictions (order_id);

-- migrate:down

DROP TABLE contradictions, timeline, events, idempotency, api_keys, merchants;
ALTER TABLE refunds DROP CONSTRAINT a_refund_names_its_debit;
DROP TABLE attempts, refunds, payments;
DROP FUNCTION refuse_to_leave_an_end;
