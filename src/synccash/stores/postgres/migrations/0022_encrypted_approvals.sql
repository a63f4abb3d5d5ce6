-- migrate:up

-- What operators write about an action (parameters, reasons, and why it failed) may name people: it is
-- encrypted, as in 0020. `sealed` has the parameters and the reason of the request. Rows from before keep their
-- plain values until `synccash encryption seal` has moved them.
--
-- A process of the former release reads an encrypted request as one without parameters. It cannot execute it:
-- its decision would write a plain reason, which the constraint refuses, and the approval keeps waiting.
ALTER TABLE approvals
    ADD COLUMN sealed bytea,
    ADD COLUMN sealed_decision_reason bytea,
    ADD COLUMN sealed_failure bytea,
    ADD CONSTRAINT an_encrypted_approval_has_no_plain_text CHECK (
        sealed IS NULL
        OR (parameters::text = '{}' AND reason = '' AND decision_reason IS NULL AND failure IS NULL)
    ),
    ADD CONSTRAINT a_decision_has_one_reason CHECK (decision_reason IS NULL OR sealed_decision_reason IS NULL);

-- migrate:down

-- Encrypted values would be lost: this fails as long as there are any.
DO $$
BEGIN
    IF EXISTS (
        SELECT FROM approvals
        WHERE sealed IS NOT NULL OR sealed_decision_reason IS NOT NULL OR sealed_failure IS NOT NULL
    ) THEN
        RAISE EXCEPTION 'the database holds encrypted values, which the former schema cannot store';
    END IF;
END
$$;
ALTER TABLE approvals
    DROP CONSTRAINT an_encrypted_approval_has_no_plain_text,
    DROP CONSTRAINT a_decision_has_one_reason,
    DROP COLUMN sealed,
    DROP COLUMN sealed_decision_reason,
    DROP COLUMN sealed_failure;
