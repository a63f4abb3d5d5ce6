-- migrate:up

-- A file of its own, so that nothing waits for it: it holds no lock that a payment needs, and the triggers of
-- 0033 are at work meanwhile. It reads the partial index that 0035 drops.
INSERT INTO unsuccessful_payments (merchant_id, livemode, status, created_at, payment_id)
SELECT merchant_id, livemode, status, created_at, id FROM payments
WHERE status <> 'succeeded' AND status IN ('failed', 'canceled')
ON CONFLICT DO NOTHING;

-- migrate:down

DELETE FROM unsuccessful_payments;
