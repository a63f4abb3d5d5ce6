-- migrate:up

-- What each merchant may pay out. `available` = collected - refunded - paid out - reserved + credit - fees, for
-- each merchant, mode and currency. An entry changes one of these six by a signed amount in pesewas, and is
-- written in the commit of the change that it records. Entries are never changed or deleted.
--
-- id      drawn by a transaction that has its transaction id already: fold_balance_entries() relies on it
-- source  the payment, refund or payout whose money it is; for credit, the name of the grant
CREATE SEQUENCE balance_entries_id;
CREATE TABLE balance_entries (
    id          bigint PRIMARY KEY
                    DEFAULT CASE WHEN pg_current_xact_id() IS NOT NULL THEN nextval('balance_entries_id') END,
    merchant_id text NOT NULL,
    livemode    boolean NOT NULL,
    currency    text NOT NULL,
    kind        text NOT NULL
                    CHECK (kind IN ('collected', 'refunded', 'paid_out', 'reserved', 'credit', 'fees')),
    amount      bigint NOT NULL CHECK (amount <> 0 OR kind = 'credit'),
    source      text NOT NULL,
    at          timestamptz NOT NULL DEFAULT now()
);
ALTER SEQUENCE balance_entries_id OWNED BY balance_entries.id;
CREATE INDEX balance_entries_of_account ON balance_entries (merchant_id, livemode, currency, id);
CREATE INDEX balance_entries_of_source ON balance_entries (source);
CREATE UNIQUE INDEX a_credit_is_granted_once ON balance_entries (source) WHERE kind = 'credit';

CREATE FUNCTION refuse_to_change_an_entry() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'entries of a balance are never changed or deleted'
        USING ERRCODE = 'check_violation', CONSTRAINT = 'balance_entries_are_appended';
END
$$;
CREATE TRIGGER balance_entries_are_appended BEFORE UPDATE OR DELETE ON balance_entries FOR EACH ROW
    EXECUTE FUNCTION refuse_to_change_an_entry();

-- The sums of all entries up to `folded_to`, so that a balance is read from them and the few entries behind.
CREATE TABLE balance_checkpoints (
    merchant_id text NOT NULL,
    livemode    boolean NOT NULL,
    currency    text NOT NULL,
    kind        text NOT NULL,
    amount      bigint NOT NULL,
    PRIMARY KEY (merchant_id, livemode, currency, kind)
);

-- One row. `next_to` is folded as soon as every transaction older than `next_xact` has ended.
CREATE TABLE balance_folding (
    one       boolean PRIMARY KEY DEFAULT true CHECK (one),
    folded_to bigint NOT NULL,
    next_to   bigint NOT NULL,
    next_xact xid8 NOT NULL,
    CHECK (folded_to <= next_to)
);

-- Fees in basis points (100 = 1 %), as the settings of the processes say.
CREATE TABLE balance_fees (
    rail      text NOT NULL,
    operation text NOT NULL CHECK (operation IN ('collect', 'refund', 'payout')),
    bps       integer NOT NULL CHECK (bps BETWEEN 1 AND 10000),
    PRIMARY KEY (rail, operation)
);

-- The attempt whose money a succeeded payment stands for. Payments of former versions do not say which.
CREATE FUNCTION paying_attempt(payment text, paid_by text) RETURNS text LANGUAGE sql STABLE AS $$
    SELECT coalesce(paid_by, (
        SELECT a.id FROM attempts a WHERE a.order_id = payment AND a.amount_received > 0
        ORDER BY a.state <> 'succeeded', a.sequence LIMIT 1
    ))
$$;

-- What each order contributes to its merchant's balance, by the books alone. Money that came too much is no
-- part of it, nor is the refund that returns it. What a rail has taken back did not come; what it has sent
-- back did not go. An order that has not ended stays reserved, whoever it waits for.
CREATE VIEW balance_books AS
SELECT p.id AS source, p.merchant_id, p.livemode, p.currency, 'collected' AS kind, p.amount_received AS amount
FROM payments p
WHERE p.status = 'succeeded' AND p.amount_received > 0 AND NOT EXISTS (
    SELECT FROM attempts a WHERE a.order_id = p.id AND a.reversed_at IS NOT NULL
        AND a.id = paying_attempt(p.id, p.paid_by)
)
UNION ALL
SELECT o.id, o.merchant_id, o.livemode, o.currency,
    CASE o.status WHEN 'processing' THEN 'reserved' ELSE o.kind END,
    CASE
        WHEN o.status = 'processing' THEN greatest(o.amount, moved.amount)
        WHEN o.status = 'succeeded' AND moved.amount = 0 AND NOT moved.is_back THEN o.amount
        ELSE moved.amount
    END
FROM (
    SELECT id, merchant_id, livemode, currency, status, amount, 'paid_out' AS kind FROM payouts
    UNION ALL
    SELECT id, merchant_id, livemode, currency, status, amount, 'refunded' FROM refunds WHERE NOT surplus
) o
CROSS JOIN LATERAL (
    SELECT coalesce(sum(a.amount_received) FILTER (WHERE a.reversed_at IS NULL), 0)::bigint AS amount,
        coalesce(bool_or(a.reversed_at IS NOT NULL), false) AS is_back
    FROM attempts a WHERE a.order_id = o.id
) moved;

-- The fee of an order, in pesewas. An order without a rail yet is charged as by the most expensive one.
CREATE FUNCTION balance_fee(of_operation text, of_rail text, of_amount bigint) RETURNS bigint
LANGUAGE sql STABLE AS $$
    SELECT coalesce((of_amount * max(f.bps) + 5000) / 10000, 0) FROM balance_fees f
    WHERE f.operation = of_operation AND (of_rail IS NULL OR f.rail = of_rail)
$$;

CREATE FUNCTION available_balance(of_merchant text, of_livemode boolean, of_currency text) RETURNS bigint
LANGUAGE sql VOLATILE AS $$
    SELECT coalesce(sum(CASE WHEN kind IN ('collected', 'credit') THEN amount ELSE -amount END), 0)::bigint
    FROM (
        SELECT c.kind, c.amount FROM balance_checkpoints c
        WHERE c.merchant_id = of_merchant AND c.livemode = of_livemode AND c.currency = of_currency
        UNION ALL
        SELECT e.kind, e.amount FROM balance_entries e
        WHERE e.merchant_id = of_merchant AND e.livemode = of_livemode AND e.currency = of_currency
            AND e.id > (SELECT f.folded_to FROM balance_folding f)
    ) entries
$$;

-- Held until the end of the transaction by whoever takes money out of a balance. What adds to one, such as a
-- payment that succeeds, never takes it.
CREATE FUNCTION lock_balance(of_merchant text, of_livemode boolean, of_currency text) RETURNS void
LANGUAGE sql VOLATILE AS $$
    SELECT pg_advisory_xact_lock(
        hashtextextended(format('balance:%s:%s:%s', of_merchant, of_livemode, of_currency), 0)
    )
$$;

-- Brings an order's entries to what the books say now. It writes the difference to what was written before,
-- so nothing counts twice, however often it runs. The caller holds the order's row lock.
CREATE FUNCTION record_balance(of_order text, of_operation text, of_rail text) RETURNS void
LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    account record;
    charged bigint;
    counted bigint;
BEGIN
    INSERT INTO balance_entries (merchant_id, livemode, currency, kind, amount, source)
    SELECT d.merchant_id, d.livemode, d.currency, d.kind, sum(d.amount), of_order
    FROM (
        SELECT b.merchant_id, b.livemode, b.currency, b.kind, b.amount FROM balance_books b
        WHERE b.source = of_order
        UNION ALL
        SELECT e.merchant_id, e.livemode, e.currency, e.kind, -e.amount FROM balance_entries e
        WHERE e.source = of_order AND e.kind <> 'fees'
    ) d
    GROUP BY d.merchant_id, d.livemode, d.currency, d.kind HAVING sum(d.amount) <> 0;
    IF NOT EXISTS (SELECT FROM balance_fees)
        AND NOT EXISTS (SELECT FROM balance_entries e WHERE e.source = of_order AND e.kind = 'fees') THEN
        RETURN;
    END IF;
    SELECT e.merchant_id, e.livemode, e.currency INTO account
    FROM balance_entries e WHERE e.source = of_order LIMIT 1;
    SELECT coalesce(sum(e.amount) FILTER (WHERE e.kind = 'fees'), 0),
        coalesce(sum(e.amount) FILTER (WHERE e.kind <> 'fees'), 0)
    INTO charged, counted FROM balance_entries e WHERE e.source = of_order;
    -- A fee is charged once, by the rail and the rates of that moment, and given back with its money.
    IF counted = 0 AND charged <> 0 THEN
        charged := -charged;
    ELSIF counted <> 0 AND charged = 0 THEN
        charged := balance_fee(of_operation, of_rail, counted);
    ELSE
        RETURN;
    END IF;
    IF charged <> 0 THEN
        INSERT INTO balance_entries (merchant_id, livemode, currency, kind, amount, source)
        VALUES (account.merchant_id, account.livemode, account.currency, 'fees', charged, of_order);
    END IF;
END
$$;

-- A statement that makes payments succeed writes their entries for all of them together, which costs half of
-- a trigger for each, and says so in `balance_recorded`. The trigger is for whoever does not.
ALTER TABLE payments ADD COLUMN balance_recorded boolean NOT NULL DEFAULT false;
CREATE FUNCTION record_balance_of_payment() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM record_balance(NEW.id, 'collect', NEW.rail);
    RETURN NULL;
END
$$;
CREATE TRIGGER balance_of_payment AFTER UPDATE OF status ON payments FOR EACH ROW
    WHEN (NEW.status = 'succeeded' AND OLD.status <> 'succeeded' AND NOT NEW.balance_recorded)
    EXECUTE FUNCTION record_balance_of_payment();

CREATE FUNCTION record_balance_of_attempt() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM record_balance(NEW.order_id, NEW.operation, NEW.rail);
    RETURN NULL;
END
$$;
CREATE TRIGGER balance_of_attempt AFTER UPDATE OF amount_received, reversed_at ON attempts FOR EACH ROW
    WHEN (OLD.reversed_at IS DISTINCT FROM NEW.reversed_at
        OR (NEW.operation <> 'collect' AND OLD.amount_received <> NEW.amount_received))
    EXECUTE FUNCTION record_balance_of_attempt();

-- Payouts and refunds: the argument is the operation. What is opened must be covered. Openings judge that
-- before (judge_openings); this is the last wall, and stops a version of the engine that does not judge.
CREATE FUNCTION reserve_balance() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.status = 'processing' THEN
        PERFORM lock_balance(NEW.merchant_id, NEW.livemode, NEW.currency);
    END IF;
    PERFORM record_balance(NEW.id, TG_ARGV[0], NEW.rail);
    IF NEW.status = 'processing' AND available_balance(NEW.merchant_id, NEW.livemode, NEW.currency) < 0 THEN
        RAISE EXCEPTION 'the balance of % does not cover %', NEW.merchant_id, NEW.id
            USING ERRCODE = 'check_violation', CONSTRAINT = 'balance_covers_what_is_opened';
    END IF;
    RETURN NULL;
END
$$;
CREATE TRIGGER balance_of_new_payout AFTER INSERT ON payouts FOR EACH ROW
    EXECUTE FUNCTION reserve_balance('payout');
CREATE TRIGGER balance_of_new_refund AFTER INSERT ON refunds FOR EACH ROW
    WHEN (NOT NEW.surplus) EXECUTE FUNCTION reserve_balance('refund');

CREATE FUNCTION record_balance_of_order() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM record_balance(NEW.id, TG_ARGV[0], NEW.rail);
    RETURN NULL;
END
$$;
CREATE TRIGGER balance_of_payout AFTER UPDATE OF status ON payouts FOR EACH ROW
    WHEN (OLD.status <> NEW.status) EXECUTE FUNCTION record_balance_of_order('payout');
CREATE TRIGGER balance_of_refund AFTER UPDATE OF status ON refunds FOR EACH ROW
    WHEN (OLD.status <> NEW.status AND NOT NEW.surplus) EXECUTE FUNCTION record_balance_of_order('refund');

-- Which of these openings the balances do not cover, judged one after the other: `asked` is an array of
-- {order_id, scope, key, merchant_id, livemode, currency, rail, operation, reserve}. The locks are taken in
-- the order of the accounts and are kept until the commit. An opening whose key is claimed already opens
-- nothing, so it needs nothing.
CREATE FUNCTION judge_openings(asked json)
RETURNS TABLE (order_id text, available bigint, needed bigint) LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    one record;
    account text;
    left_over bigint;
BEGIN
    FOR one IN
        SELECT o.*, format('%s:%s:%s', o.merchant_id, o.livemode, o.currency) AS account
        FROM ROWS FROM (json_to_recordset(asked) AS (
            order_id text, scope text, key text, merchant_id text, livemode boolean, currency text, rail text,
            operation text, reserve bigint)) WITH ORDINALITY o
        WHERE o.reserve > 0
        ORDER BY o.merchant_id, o.livemode, o.currency, o.ordinality
    LOOP
        IF account IS DISTINCT FROM one.account THEN
            account := one.account;
            PERFORM lock_balance(one.merchant_id, one.livemode, one.currency);
            left_over := available_balance(one.merchant_id, one.livemode, one.currency);
        END IF;
        CONTINUE WHEN EXISTS (SELECT FROM idempotency i WHERE i.scope = one.scope AND i.key = one.key);
        needed := one.reserve + balance_fee(one.operation, one.rail, one.reserve);
        IF needed > left_over THEN
            order_id := one.order_id;
            available := left_over;
            RETURN NEXT;
        ELSE
            left_over := left_over - needed;
        END IF;
    END LOOP;
END
$$;

-- Adds settled entries to the checkpoints; returns up to which id. Call it as a transaction of its own.
--
-- Ids become visible out of order, and an id that is folded over before its entry is visible would be lost.
-- So the last id drawn is read first, and this transaction's own id is drawn after it. Whoever drew one of
-- those ids had a transaction id before, which is therefore smaller than ours. A later call folds them when no
-- transaction older than that is left: then each of those entries is visible, or was rolled back.
CREATE FUNCTION fold_balance_entries() RETURNS bigint LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    drawn bigint;
    folding balance_folding%ROWTYPE;
BEGIN
    IF pg_current_xact_id_if_assigned() IS NOT NULL THEN
        RAISE EXCEPTION 'fold_balance_entries() is called as a transaction of its own';
    END IF;
    SELECT CASE WHEN is_called THEN last_value ELSE 0 END INTO drawn FROM balance_entries_id;
    SELECT * INTO folding FROM balance_folding FOR UPDATE SKIP LOCKED;
    IF NOT FOUND THEN
        RETURN NULL;
    END IF;
    IF folding.next_to > folding.folded_to THEN
        IF folding.next_xact > pg_current_xact_id() THEN
            -- The number of another cluster, from which this database was restored: begin again.
            UPDATE balance_folding SET next_to = drawn, next_xact = pg_current_xact_id();
            RETURN folding.folded_to;
        END IF;
        IF folding.next_xact > pg_snapshot_xmin(pg_current_snapshot()) THEN
            RETURN folding.folded_to;
        END IF;
        INSERT INTO balance_checkpoints AS c (merchant_id, livemode, currency, kind, amount)
        SELECT e.merchant_id, e.livemode, e.currency, e.kind, sum(e.amount)::bigint
        FROM balance_entries e WHERE e.id > folding.folded_to AND e.id <= folding.next_to
        GROUP BY e.merchant_id, e.livemode, e.currency, e.kind
        ON CONFLICT ON CONSTRAINT balance_checkpoints_pkey DO UPDATE SET amount = c.amount + excluded.amount;
        folding.folded_to := folding.next_to;
    ELSIF drawn = folding.folded_to THEN
        RETURN drawn;
    END IF;
    UPDATE balance_folding
    SET folded_to = folding.folded_to, next_to = drawn, next_xact = pg_current_xact_id();
    RETURN folding.folded_to;
END
$$;

-- The opening balances, order by order, so that whatever still becomes of an old order is a difference to
-- what stands here. The triggers above hold all writers back until this is committed.
INSERT INTO balance_entries (merchant_id, livemode, currency, kind, amount, source)
SELECT merchant_id, livemode, currency, kind, amount, source FROM balance_books WHERE amount <> 0;

-- Whoever has paid out until now goes on: with a credit that an operator has to confirm or to replace
-- (`synccash balances confirm`). Nobody else is given one.
INSERT INTO balance_entries (merchant_id, livemode, currency, kind, amount, source)
SELECT DISTINCT merchant_id, livemode, currency, 'credit', 1000000000000,
    format('credit_by_migration:%s:%s:%s', merchant_id, CASE WHEN livemode THEN 'live' ELSE 'test' END, currency)
FROM payouts;

INSERT INTO balance_checkpoints (merchant_id, livemode, currency, kind, amount)
SELECT merchant_id, livemode, currency, kind, sum(amount)::bigint FROM balance_entries GROUP BY 1, 2, 3, 4;
INSERT INTO balance_folding (folded_to, next_to, next_xact)
SELECT drawn, drawn, pg_current_xact_id()
FROM (SELECT CASE WHEN is_called THEN last_value ELSE 0 END AS drawn FROM balance_entries_id) s;

-- migrate:down

DROP TRIGGER balance_of_payment ON payments;
ALTER TABLE payments DROP COLUMN balance_recorded;
DROP TRIGGER balance_of_attempt ON attempts;
DROP TRIGGER balance_of_new_payout ON payouts;
DROP TRIGGER balance_of_payout ON payouts;
DROP TRIGGER balance_of_new_refund ON refunds;
DROP TRIGGER balance_of_refund ON refunds;
DROP FUNCTION fold_balance_entries, judge_openings, record_balance_of_order, reserve_balance,
    record_balance_of_attempt, record_balance_of_payment, record_balance, lock_balance, available_balance,
    balance_fee, refuse_to_change_an_entry CASCADE;
DROP VIEW balance_books;
DROP FUNCTION paying_attempt;
DROP TABLE balance_fees, balance_folding, balance_checkpoints, balance_entries;
