-- migrate:up

-- The people who operate the service. A row without a password belongs to somebody who has not enrolled yet, or
-- whose password and TOTP secret were reset. Names are never given to somebody else: the audit log has them.
--   totp_last_step  the latest 30 s step whose code was used; codes of it and of earlier steps are refused
CREATE TABLE operators (
    id                   text PRIMARY KEY,
    name                 text NOT NULL UNIQUE CHECK (name ~ '^[a-z][a-z0-9.-]{1,39}$'),
    role                 text NOT NULL CHECK (role IN ('viewer', 'operator', 'admin')),
    password_hash        text,
    totp_secret          bytea,
    totp_last_step       bigint NOT NULL DEFAULT 0,
    enrolment_hash       bytea CHECK (octet_length(enrolment_hash) = 32),
    enrolment_expires_at timestamptz,
    failed_sign_ins      bigint NOT NULL DEFAULT 0,
    signed_in_at         timestamptz,
    disabled_at          timestamptz,
    created_at           timestamptz NOT NULL DEFAULT now(),
    created_by           text NOT NULL,
    CONSTRAINT a_password_has_a_totp_secret CHECK ((password_hash IS NULL) = (totp_secret IS NULL)),
    CONSTRAINT an_enrolment_expires CHECK ((enrolment_hash IS NULL) = (enrolment_expires_at IS NULL))
);

-- Bearer tokens of operators: of a sign-in (`session`), or made by an operator for programs (`api`).
CREATE TABLE operator_tokens (
    id           text PRIMARY KEY,
    operator_id  text NOT NULL REFERENCES operators,
    secret_hash  bytea NOT NULL UNIQUE CHECK (octet_length(secret_hash) = 32),
    kind         text NOT NULL CHECK (kind IN ('session', 'api')),
    name         text NOT NULL,
    created_at   timestamptz NOT NULL DEFAULT now(),
    expires_at   timestamptz NOT NULL,
    last_used_at timestamptz,
    revoked_at   timestamptz
);
CREATE INDEX operator_tokens_of_operator ON operator_tokens (operator_id) WHERE revoked_at IS NULL;

-- Failed sign-ins by address and by name, and when the next one is allowed. Names are stored as hashes: people
-- type passwords into the wrong field.
CREATE TABLE operator_sign_in_throttle (
    subject   text PRIMARY KEY,
    failures  integer NOT NULL,
    failed_at timestamptz NOT NULL,
    next_at   timestamptz NOT NULL
);
CREATE INDEX operator_sign_in_throttle_oldest ON operator_sign_in_throttle (failed_at);

-- Where an operator has signed in from. Such an address is throttled apart from all others, so that somebody
-- who guesses from elsewhere does not keep the operator out.
CREATE TABLE operator_addresses (
    operator_id  text NOT NULL REFERENCES operators,
    address      text NOT NULL,
    signed_in_at timestamptz NOT NULL,
    PRIMARY KEY (operator_id, address)
);

-- Actions that need a second operator. `pending` waits for one; `approved` is being executed, until
-- `execute_until`, after which it may be executed again: the process may have died.
CREATE TABLE approvals (
    id              text PRIMARY KEY,
    action          text NOT NULL,
    target          text NOT NULL,
    parameters      json NOT NULL,
    reason          text NOT NULL,
    requested_by    text NOT NULL,
    requested_at    timestamptz NOT NULL DEFAULT now(),
    expires_at      timestamptz NOT NULL,
    status          text NOT NULL DEFAULT 'pending'
        CHECK (status IN ('pending', 'approved', 'executed', 'failed', 'declined', 'expired')),
    decided_by      text,
    decided_at      timestamptz,
    decision_reason text,
    execute_until   timestamptz,
    failure         text,
    CONSTRAINT a_decision_has_an_author CHECK ((status IN ('pending', 'expired')) = (decided_by IS NULL)),
    CONSTRAINT the_second_operator_is_another CHECK (decided_by <> requested_by OR status = 'declined')
);
CREATE INDEX approvals_newest ON approvals (requested_at DESC);
CREATE UNIQUE INDEX an_action_waits_once ON approvals (action, target) WHERE status IN ('pending', 'approved');

-- migrate:down

DROP TABLE approvals, operator_addresses, operator_sign_in_throttle, operator_tokens, operators;
