-- migrate:up

-- callback_at          when the latest callback for the attempt came; written by the callback alone
-- callback_checked_at  up to when the rail, asked because of callbacks, has answered. Behind callback_at: nothing
--                      new is sent for an order whose closed attempt this is
ALTER TABLE attempts
    ADD COLUMN callback_at         timestamptz,
    ADD COLUMN callback_checked_at timestamptz;

-- Processes of two releases may differ in which debit of a payment is the surplus: one that pays it is never it.
CREATE FUNCTION refuse_refund_of_what_pays() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (SELECT FROM payments p WHERE p.id = NEW.payment_id AND p.paid_by = NEW.attempt_id) THEN
        RAISE EXCEPTION '% pays %, so it is no surplus', NEW.attempt_id, NEW.payment_id
            USING ERRCODE = 'check_violation', CONSTRAINT = 'what_pays_is_no_surplus';
    END IF;
    RETURN NEW;
END
$$;
CREATE TRIGGER what_pays_is_no_surplus BEFORE INSERT ON refunds FOR EACH ROW
    WHEN (NEW.surplus) EXECUTE FUNCTION refuse_refund_of_what_pays();

-- migrate:down

DROP TRIGGER what_pays_is_no_surplus ON refunds;
DROP FUNCTION refuse_refund_of_what_pays;
ALTER TABLE attempts DROP COLUMN callback_at, DROP COLUMN callback_checked_at;
