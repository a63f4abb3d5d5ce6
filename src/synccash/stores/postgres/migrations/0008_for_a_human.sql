-- migrate:up

-- What waits for a human is counted every few seconds, and is a handful of rows among millions.
CREATE INDEX payments_for_a_human ON payments (status_detail, updated_at)
    WHERE status_detail IN ('under_review', 'risk_review');
CREATE INDEX refunds_for_a_human ON refunds (updated_at) WHERE status_detail IN ('under_review');
CREATE INDEX payouts_for_a_human ON payouts (updated_at) WHERE status_detail IN ('under_review');
CREATE INDEX contradictions_by_age ON contradictions (recorded_at);

-- Where a refund of a surplus failed for good, an operator may have it tried again.
DROP INDEX one_automatic_refund_of_a_surplus;
CREATE UNIQUE INDEX one_refund_of_a_surplus ON refunds (attempt_id) WHERE surplus AND status <> 'failed';

-- migrate:down

DROP INDEX one_refund_of_a_surplus, contradictions_by_age;
DROP INDEX payouts_for_a_human, refunds_for_a_human, payments_for_a_human;
CREATE UNIQUE INDEX one_automatic_refund_of_a_surplus ON refunds (attempt_id) WHERE surplus;
