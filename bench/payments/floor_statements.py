"""The tables and statements of the floor: one statement for each of the three commits of a payment.

Rows are of the same kinds as the service's, without its constraints, further indexes and columns.
"""

TABLES = """
CREATE TABLE payments (
    id text PRIMARY KEY, merchant_id text, reference text, amount bigint, payer_msisdn text, status text,
    version int, due_at timestamptz, sealed bytea, created_at timestamptz DEFAULT now(),
    UNIQUE (merchant_id, reference)
);
CREATE INDEX ON payments (due_at) WHERE due_at IS NOT NULL;
CREATE TABLE attempts (id text PRIMARY KEY, order_id text, reference uuid UNIQUE, state text, evidence text);
CREATE TABLE idempotency (
    scope text, key text, fingerprint bytea, status int, sealed_body bytea,
    created_at timestamptz DEFAULT now(), PRIMARY KEY (scope, key)
);
CREATE TABLE events (sequence bigserial PRIMARY KEY, order_id text, type text, sealed bytea);
CREATE TABLE timeline (order_id text, at timestamptz, kind text, data jsonb);
"""

OPEN = """
WITH given AS (
    SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::bigint[], $5::text[], $6::text[], $7::text[],
        $8::uuid[], $9::bytea[], $10::bytea[]) AS x(
        order_id, merchant_id, reference, amount, payer, key, attempt_id, rail_reference, fingerprint, sealed)
), claims AS (
    INSERT INTO idempotency (scope, key, fingerprint)
    SELECT merchant_id, key, fingerprint FROM given ON CONFLICT DO NOTHING RETURNING scope, key
), opened AS (
    INSERT INTO payments (id, merchant_id, reference, amount, payer_msisdn, status, version, due_at, sealed)
    SELECT order_id, g.merchant_id, reference, amount, payer, 'processing', 1, now() + interval '15 s', sealed
    FROM given g JOIN claims c ON c.scope = g.merchant_id AND c.key = g.key
    RETURNING id
), prepared AS (
    INSERT INTO attempts (id, order_id, reference, state)
    SELECT attempt_id, order_id, rail_reference, 'prepared' FROM given
), told AS (
    INSERT INTO timeline
    SELECT order_id, now(), kind, '{}' FROM given, (VALUES ('created'), ('routed')) AS k(kind)
)
SELECT id FROM opened
"""

SENT = """
WITH given AS (
    SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::bytea[], $6::bytea[])
    AS x(order_id, merchant_id, key, attempt_id, answer, event)
), changed AS (
    UPDATE payments p SET version = 2, due_at = now() + interval '300 s'
    FROM given g WHERE p.id = g.order_id AND p.version = 1 RETURNING p.id
), acknowledged AS (
    UPDATE attempts a SET state = 'acknowledged', evidence = 'accepted' FROM given g WHERE a.id = g.attempt_id
), answered AS (
    UPDATE idempotency i SET status = 201, sealed_body = g.answer
    FROM given g WHERE i.scope = g.merchant_id AND i.key = g.key
), published AS (
    INSERT INTO events (order_id, type, sealed) SELECT order_id, 'payment.processing', event FROM given
), told AS (
    INSERT INTO timeline SELECT order_id, now(), 'sent', '{}' FROM given
)
SELECT id FROM changed
"""

ENDED = """
WITH given AS (
    SELECT * FROM unnest($1::text[], $2::text[], $3::bytea[]) AS x(order_id, attempt_id, event)
), changed AS (
    UPDATE payments p SET version = 3, status = 'succeeded', due_at = NULL
    FROM given g WHERE p.id = g.order_id AND p.version = 2 RETURNING p.id
), succeeded AS (
    UPDATE attempts a SET state = 'succeeded' FROM given g WHERE a.id = g.attempt_id
), published AS (
    INSERT INTO events (order_id, type, sealed) SELECT order_id, 'payment.succeeded', event FROM given
), told AS (
    INSERT INTO timeline SELECT order_id, now(), 'rail_answered', '{}' FROM given
)
SELECT id FROM changed
"""

LIMITS = """
local found = {}
for i = 1, 4 do
    found[i] = redis.call('INCR', KEYS[i])
    if found[i] == 1 then redis.call('PEXPIRE', KEYS[i], 60000) end
end
found[5] = redis.call('GET', KEYS[5])
return found
"""
"""Counts for four rate limits, and reads the cached answer of the idempotency key."""
