-- migrate:up

-- A merchant has at most 16 webhook endpoints in each mode, removed ones not counted. The lock makes insertions
-- of one merchant wait for each other until they are committed; the count behind it sees all of them, because
-- each statement of a volatile function reads with a snapshot of its own.
CREATE FUNCTION refuse_more_webhook_endpoints() RETURNS trigger LANGUAGE plpgsql VOLATILE AS $$
BEGIN
    PERFORM pg_advisory_xact_lock(
        hashtextextended(format('webhook_endpoints:%s:%s', NEW.merchant_id, NEW.livemode), 0)
    );
    IF (
        SELECT count(*) FROM webhook_endpoints w
        WHERE w.merchant_id = NEW.merchant_id AND w.livemode = NEW.livemode AND w.status <> 'removed'
            AND w.id <> NEW.id
    ) >= 16 THEN
        RAISE EXCEPTION '% has 16 webhook endpoints', NEW.merchant_id
            USING ERRCODE = 'check_violation', CONSTRAINT = 'webhook_endpoints_limit';
    END IF;
    RETURN NEW;
END
$$;
CREATE TRIGGER webhook_endpoints_limit BEFORE INSERT ON webhook_endpoints FOR EACH ROW
    EXECUTE FUNCTION refuse_more_webhook_endpoints();

-- migrate:down

DROP TRIGGER webhook_endpoints_limit ON webhook_endpoints;
DROP FUNCTION refuse_more_webhook_endpoints;
