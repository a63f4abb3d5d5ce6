-- migrate:up

-- Where a merchant wants to be told. The secrets sign what is sent, so they are kept as they are: the newest
-- first, a former one with the moment until which it still signs.
CREATE TABLE webhook_endpoints (
    id              text PRIMARY KEY,
    merchant_id     text NOT NULL,
    livemode        boolean NOT NULL,
    url             text NOT NULL,
    types           json,
    secrets         json NOT NULL,
    status          text NOT NULL CHECK (status IN ('enabled', 'disabled', 'removed')),
    disabled_reason text,
    failing_since   timestamptz,
    created_at      timestamptz NOT NULL DEFAULT now(),
    updated_at      timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX webhook_endpoints_of_merchant ON webhook_endpoints (merchant_id, livemode) WHERE status <> 'removed';

-- One event for one endpoint, written in the commit of the event.
--   due_at  when to send it; while somebody sends it, the end of the lease; NULL = delivered, or given up
--   fence   counts those who took it: who settles it names the fence that he was given
CREATE TABLE deliveries (
    event_id     text NOT NULL,
    endpoint_id  text NOT NULL,
    created_at   timestamptz NOT NULL DEFAULT now(),
    due_at       timestamptz,
    fence        bigint NOT NULL DEFAULT 0,
    tries        integer NOT NULL DEFAULT 0,
    delivered_at timestamptz,
    last_status  integer,
    last_error   text,
    PRIMARY KEY (event_id, endpoint_id)
);
CREATE INDEX deliveries_due ON deliveries (due_at) WHERE due_at IS NOT NULL;
CREATE INDEX deliveries_due_of_endpoint ON deliveries (endpoint_id, due_at) WHERE due_at IS NOT NULL;

-- migrate:down

DROP TABLE deliveries, webhook_endpoints;
