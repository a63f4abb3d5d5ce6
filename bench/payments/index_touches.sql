-- Counts what the life of a row of `payments` and `attempts` costs with other indexes: WAL records, WAL bytes and
-- buffer hits of 400 rows. Counts do not depend on what else the machine does.
--
-- `psql -qXAt -f bench/payments/index_touches.sql URL` on a migrated database; it ends with ROLLBACK. The copies
-- have the indexes of the tables, but neither constraints nor triggers, and pages with room for every version.
BEGIN;
SET LOCAL client_min_messages = notice;

CREATE FUNCTION pg_temp.copy_of(original text, copy text, dropped text) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    name text;
BEGIN
    EXECUTE format('CREATE TABLE %I (LIKE %I INCLUDING DEFAULTS INCLUDING STORAGE INCLUDING INDEXES)', copy, original);
    EXECUTE format('ALTER TABLE %I SET (fillfactor = 15)', copy);
    FOR name IN SELECT attname FROM pg_attribute
        WHERE attrelid = copy::regclass AND attnum > 0 AND attnotnull AND attname <> 'id'
    LOOP
        EXECUTE format('ALTER TABLE %I ALTER %I DROP NOT NULL', copy, name);
    END LOOP;
    FOR name IN SELECT indexname FROM pg_indexes WHERE tablename = copy AND indexdef ~ dropped LOOP
        EXECUTE format('DROP INDEX %I', name);
    END LOOP;
END $$;

CREATE FUNCTION pg_temp.lived(variant text, steps text[]) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    step text; plan json; told text := ''; records numeric := 0; bytes numeric := 0; hits numeric := 0;
BEGIN
    FOREACH step IN ARRAY steps LOOP
        EXECUTE 'EXPLAIN (ANALYZE, WAL, BUFFERS, TIMING OFF, FORMAT JSON) ' || step INTO plan;
        plan := plan -> 0 -> 'Plan';
        records := records + (plan ->> 'WAL Records')::numeric;
        bytes := bytes + (plan ->> 'WAL Bytes')::numeric;
        hits := hits + (plan ->> 'Shared Hit Blocks')::numeric;
        told := told || ' ' || round((plan ->> 'WAL Records')::numeric / 400, 1);
    END LOOP;
    RAISE NOTICE '%: % WAL records a row (by step:%), % bytes, % buffer hits', variant,
        round(records / 400, 1), told, round(bytes / 400), round(hits / 400);
END $$;

CREATE FUNCTION pg_temp.payment(variant text, name text) RETURNS void LANGUAGE sql AS $$
    SELECT pg_temp.lived(variant, ARRAY[
        format('INSERT INTO %I (id, merchant_id, reference, livemode, payer_msisdn, status, created_at, fence, version)
            SELECT ''pay_'' || md5(i::text), ''m_1'', md5(i::text), false, ''23324'' || i, ''created'', now(), 1, 1
            FROM generate_series(1, 400) i', name),
        format('UPDATE %I SET version = 2', name),
        format('UPDATE %I SET version = 3, status = ''processing''', name),
        format('UPDATE %I SET hinted = true', name),
        format('UPDATE %I SET fence = 2', name),
        format('UPDATE %I SET version = 4, status = ''succeeded''', name)])
$$;

CREATE FUNCTION pg_temp.attempt(variant text, name text) RETURNS void LANGUAGE sql AS $$
    SELECT pg_temp.lived(variant, ARRAY[
        format('INSERT INTO %I (id, order_id, sequence, operation, rail, account, base_url, reference, callback_token,
            amount, started_at, state) SELECT ''att_'' || md5(i::text), ''pay_'' || md5(i::text), 1, ''collect'',
            ''mtn'', ''main'', ''https://rail.example.com'', md5(i::text)::uuid, md5(i::text), 500, now(), ''prepared''
            FROM generate_series(1, 400) i', name),
        format('UPDATE %I SET state = ''acknowledged'', evidence = ''accepted''', name),
        format('UPDATE %I SET callback_at = now()', name),
        format('UPDATE %I SET state = ''succeeded'', provider_transaction_id = md5(id)', name)])
$$;

SELECT pg_temp.copy_of('payments', 'payments_as_is', '^$');
SELECT pg_temp.payment('payments as they are', 'payments_as_is');

SELECT pg_temp.copy_of('payments', 'payments_rare', 'status');
CREATE INDEX ON payments_rare (merchant_id, livemode, status, created_at, id) WHERE status IN ('failed', 'canceled');
SELECT pg_temp.payment('payments, status index of rare statuses', 'payments_rare');

SELECT pg_temp.copy_of('payments', 'payments_brin', 'status');
CREATE INDEX ON payments_brin USING brin (status text_bloom_ops);
SELECT pg_temp.payment('payments, status index of kind BRIN', 'payments_brin');

SELECT pg_temp.copy_of('payments', 'payments_without', 'status');
SELECT pg_temp.payment('payments, no index on the status', 'payments_without');

SELECT pg_temp.copy_of('attempts', 'attempts_as_is', '^$');
SELECT pg_temp.attempt('attempts as they are', 'attempts_as_is');

SELECT pg_temp.copy_of('attempts', 'attempts_without_transaction', 'provider_transaction_id');
SELECT pg_temp.attempt('attempts, no index on the transaction', 'attempts_without_transaction');

SELECT pg_temp.copy_of('attempts', 'attempts_flag', 'state = ANY');
ALTER TABLE attempts_flag ADD COLUMN may_move_money boolean DEFAULT true;
CREATE UNIQUE INDEX ON attempts_flag (order_id) WHERE may_move_money;
SELECT pg_temp.attempt('attempts, unique index on a flag instead of the state', 'attempts_flag');

SELECT pg_temp.copy_of('attempts', 'attempts_flag_only', 'state = ANY|provider_transaction_id');
ALTER TABLE attempts_flag_only ADD COLUMN may_move_money boolean DEFAULT true;
CREATE UNIQUE INDEX ON attempts_flag_only (order_id) WHERE may_move_money;
SELECT pg_temp.attempt('attempts, both', 'attempts_flag_only');

ROLLBACK;
