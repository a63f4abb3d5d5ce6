-- migrate:up

-- What a key may do, from where, and until when. Existing keys keep all that they could do.
ALTER TABLE api_keys
    ADD COLUMN name         text NOT NULL DEFAULT '',
    ADD COLUMN scopes       text[],
    ADD COLUMN allowed_ips  cidr[] NOT NULL DEFAULT '{}',
    ADD COLUMN expires_at   timestamptz,
    ADD COLUMN last_used_at timestamptz,
    ADD COLUMN replaced_by  text;

CREATE FUNCTION scopes_of_role(role text) RETURNS text[] LANGUAGE sql IMMUTABLE AS $$
    SELECT CASE role
        WHEN 'admin' THEN ARRAY['admin:read', 'admin:write']
        ELSE ARRAY['payments:read', 'payments:write', 'refunds:write', 'payouts:write', 'webhooks:write']
    END
$$;
UPDATE api_keys SET scopes = scopes_of_role(role);
ALTER TABLE api_keys
    ALTER COLUMN scopes SET NOT NULL,
    ADD CONSTRAINT scopes_fit_the_role CHECK (scopes <@ scopes_of_role(role));

-- Processes of the former version insert keys without scopes, which could do everything.
CREATE FUNCTION fill_scopes() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.scopes := scopes_of_role(NEW.role);
    RETURN NEW;
END
$$;
CREATE TRIGGER keys_without_scopes_have_all BEFORE INSERT ON api_keys FOR EACH ROW
    WHEN (NEW.scopes IS NULL) EXECUTE FUNCTION fill_scopes();

-- The API key and the request that made an order; NULL in orders of former versions and of the engine itself.
-- No foreign key, as with merchant_id: keys are never deleted, and an opening locks no row of api_keys.
ALTER TABLE payments ADD COLUMN api_key_id text, ADD COLUMN request_id text;
ALTER TABLE refunds  ADD COLUMN api_key_id text, ADD COLUMN request_id text;
ALTER TABLE payouts  ADD COLUMN api_key_id text, ADD COLUMN request_id text;

-- migrate:down

ALTER TABLE payouts  DROP COLUMN api_key_id, DROP COLUMN request_id;
ALTER TABLE refunds  DROP COLUMN api_key_id, DROP COLUMN request_id;
ALTER TABLE payments DROP COLUMN api_key_id, DROP COLUMN request_id;
DROP TRIGGER keys_without_scopes_have_all ON api_keys;
DROP FUNCTION fill_scopes;
ALTER TABLE api_keys DROP CONSTRAINT scopes_fit_the_role;
DROP FUNCTION scopes_of_role;
ALTER TABLE api_keys
    DROP COLUMN name,
    DROP COLUMN scopes,
    DROP COLUMN allowed_ips,
    DROP COLUMN expires_at,
    DROP COLUMN last_used_at,
    DROP COLUMN replaced_by;
