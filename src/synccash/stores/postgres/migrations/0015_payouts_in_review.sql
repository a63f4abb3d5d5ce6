-- migrate:up

-- Payouts wait for their risk review too, and are counted as payments are.
CREATE INDEX payouts_to_decide ON payouts (status_detail, updated_at)
    WHERE status_detail IN ('under_review', 'risk_review');
DROP INDEX payouts_for_a_human;
-- A process that starts counts the payouts of the last days again, over all merchants.
CREATE INDEX payouts_by_age ON payouts (created_at);

-- migrate:down

DROP INDEX payouts_by_age;
CREATE INDEX payouts_for_a_human ON payouts (updated_at) WHERE status_detail IN ('under_review');
DROP INDEX payouts_to_decide;
