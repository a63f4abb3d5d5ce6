-- migrate:up

-- callback_at          when the latest callback for the attempt came; written by the callback alone
-- callback_checked_at  up to when the rail, asked because of callbacks, has answered. Behind callback_at: nothing
--                      new is sent for an order whose closed attempt this is
ALTER TABLE attempts
    ADD COLUMN callback_at         timestamptz,
    ADD COLUMN callback_checked_at timestamptz;

-- migrate:down

ALTER TABLE attempts DROP COLUMN callback_at, DROP COLUMN callback_checked_at;
