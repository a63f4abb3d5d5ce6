-- migrate:up

-- The request that an action came with, the merchant that it is about, and what else there is to say: no
-- secrets and no full numbers.
ALTER TABLE audit
    ADD COLUMN request_id  text,
    ADD COLUMN merchant_id text,
    ADD COLUMN details     json NOT NULL DEFAULT '{}';
CREATE INDEX audit_of_actor ON audit (actor, position);
CREATE INDEX audit_of_target ON audit (target, position);

-- Each seal covers the entries from `first_position` to `last_position`, and the digest of the seal before it.
--   row_index  16 bytes an entry: its position, and the first 8 bytes of its SHA-256; it names an entry that
--              was altered, removed or inserted
--   key_id     names the key of an HMAC; NULL where the digest is a plain SHA-256
CREATE TABLE audit_seals (
    seq             bigint PRIMARY KEY CHECK (seq >= 1),
    first_position  bigint NOT NULL,
    last_position   bigint NOT NULL,
    row_count       integer NOT NULL CHECK (row_count >= 0),
    row_index       bytea NOT NULL,
    key_id          text,
    digest          bytea NOT NULL UNIQUE CHECK (octet_length(digest) = 32),
    previous_digest bytea NOT NULL UNIQUE CHECK (octet_length(previous_digest) = 32),
    sealed_at       timestamptz NOT NULL
);

-- Positions come from a sequence and may be committed in another order. A transaction holds this lock from
-- before it takes a position until it ends; who seals waits for it, so no entry appears below a seal.
CREATE FUNCTION hold_audit_position() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_advisory_xact_lock_shared(1635083369, 1);
    RETURN NULL;
END $$;
CREATE TRIGGER audit_positions_are_held BEFORE INSERT ON audit
    FOR EACH STATEMENT EXECUTE FUNCTION hold_audit_position();

CREATE FUNCTION refuse_to_change_audit() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '% of % is refused: the audit log is append-only', TG_OP, TG_TABLE_NAME
        USING ERRCODE = 'restrict_violation';
END $$;
CREATE TRIGGER audit_is_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON audit
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_to_change_audit();
CREATE TRIGGER audit_seals_are_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON audit_seals
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_to_change_audit();

-- migrate:down

DROP TABLE audit_seals;
DROP TRIGGER audit_is_append_only ON audit;
DROP TRIGGER audit_positions_are_held ON audit;
DROP FUNCTION refuse_to_change_audit;
DROP FUNCTION hold_audit_position;
DROP INDEX audit_of_target, audit_of_actor;
ALTER TABLE audit DROP COLUMN details, DROP COLUMN merchant_id, DROP COLUMN request_id;
