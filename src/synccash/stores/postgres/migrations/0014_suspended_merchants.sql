-- migrate:up

-- Merchants for whom nothing new starts. A table of its own: it is nearly always empty, so that every opening
-- can look into it.
CREATE TABLE suspended_merchants (
    merchant_id text PRIMARY KEY,
    since       timestamptz NOT NULL DEFAULT now(),
    reason      text NOT NULL
);

-- Openings look for themselves; this is the last wall for what takes money out, also behind a lock that was
-- waited for. Money that came too much goes back all the same.
CREATE FUNCTION refuse_suspended_merchant() RETURNS trigger LANGUAGE plpgsql VOLATILE AS $$
BEGIN
    IF EXISTS (SELECT FROM suspended_merchants s WHERE s.merchant_id = NEW.merchant_id) THEN
        RAISE EXCEPTION '% is suspended: nothing new starts', NEW.merchant_id
            USING ERRCODE = 'check_violation', CONSTRAINT = 'a_suspended_merchant_starts_nothing';
    END IF;
    RETURN NEW;
END
$$;
CREATE TRIGGER suspended_merchants_pay_nothing_out BEFORE INSERT ON payouts FOR EACH ROW
    EXECUTE FUNCTION refuse_suspended_merchant();
CREATE TRIGGER suspended_merchants_refund_nothing BEFORE INSERT ON refunds FOR EACH ROW
    WHEN (NOT NEW.surplus) EXECUTE FUNCTION refuse_suspended_merchant();

-- migrate:down

DROP TRIGGER suspended_merchants_refund_nothing ON refunds;
DROP TRIGGER suspended_merchants_pay_nothing_out ON payouts;
DROP FUNCTION refuse_suspended_merchant;
DROP TABLE suspended_merchants;
