-- migrate:up

-- An endpoint is pending until it has answered a challenge. Its events are kept until then with due_at
-- 'infinity'. The challenge is the event `verification_event_id`, the only one that is sent to it meanwhile.
-- Endpoints that exist count as verified, and so do those that processes of the former version create during
-- a rolling upgrade (DEFAULT now()).
ALTER TABLE webhook_endpoints
    ADD COLUMN verified_at timestamptz DEFAULT now(),
    ADD COLUMN verification_event_id text,
    DROP CONSTRAINT webhook_endpoints_status_check,
    ADD CONSTRAINT webhook_endpoints_status_check
        CHECK (status IN ('pending', 'enabled', 'disabled', 'removed'));

-- One row: when a process last took deliveries. Health reports events that are due while no process does.
CREATE TABLE webhook_heartbeat (
    only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    seen_at  timestamptz NOT NULL
);

-- migrate:down

DROP TABLE webhook_heartbeat;
UPDATE deliveries d SET due_at = NULL FROM webhook_endpoints w
    WHERE w.id = d.endpoint_id AND w.status = 'pending' AND d.due_at IS NOT NULL;
UPDATE webhook_endpoints SET status = 'disabled', disabled_reason = 'the endpoint was not verified'
    WHERE status = 'pending';
ALTER TABLE webhook_endpoints
    DROP CONSTRAINT webhook_endpoints_status_check,
    ADD CONSTRAINT webhook_endpoints_status_check CHECK (status IN ('enabled', 'disabled', 'removed')),
    DROP COLUMN verification_event_id,
    DROP COLUMN verified_at;
