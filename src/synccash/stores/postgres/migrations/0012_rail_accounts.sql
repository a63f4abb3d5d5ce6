-- migrate:up

-- The credentials that each rail account has had. `identity` names them without being one of them; it stands
-- under one label and in one environment only. All confirmed identities of one label and environment are keys
-- of the same business.
CREATE TABLE rail_accounts (
    rail         text NOT NULL,
    identity     text NOT NULL,
    label        text NOT NULL,
    environment  text NOT NULL CHECK (environment IN ('live', 'test')),
    position     bigint GENERATED ALWAYS AS IDENTITY,
    first_seen   timestamptz NOT NULL DEFAULT now(),
    confirmed_at timestamptz,
    confirmed_by text,
    PRIMARY KEY (rail, identity),
    CONSTRAINT a_confirmation_says_by_whom CHECK ((confirmed_at IS NULL) = (confirmed_by IS NULL))
);

-- The first identity of a label and environment has nothing to be confused with: it is confirmed as it comes.
-- Processes that start together with two identities wait for each other; each statement of a volatile function
-- reads with a snapshot of its own.
CREATE FUNCTION register_rail_account(its_rail text, its_label text, its_identity text, its_environment text)
RETURNS void LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    is_first boolean;
BEGIN
    IF EXISTS (SELECT FROM rail_accounts WHERE rail = its_rail AND identity = its_identity) THEN
        RETURN;
    END IF;
    PERFORM pg_advisory_xact_lock(hashtextextended('rail_accounts:' || its_rail, 0));
    is_first := NOT EXISTS (
        SELECT FROM rail_accounts
        WHERE rail = its_rail AND label = its_label AND environment = its_environment
    );
    INSERT INTO rail_accounts (rail, label, identity, environment, confirmed_at, confirmed_by)
    VALUES (its_rail, its_label, its_identity, its_environment,
        CASE WHEN is_first THEN now() END, CASE WHEN is_first THEN 'first of its label' END)
    ON CONFLICT (rail, identity) DO NOTHING;
END
$$;

-- NULL in attempts of former versions: they are of the first identity that was recorded under their label.
ALTER TABLE attempts ADD COLUMN account_identity text;

-- migrate:down

ALTER TABLE attempts DROP COLUMN account_identity;
DROP FUNCTION register_rail_account;
DROP TABLE rail_accounts;
