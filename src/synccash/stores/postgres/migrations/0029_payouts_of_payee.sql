-- migrate:up transaction:false

-- The payouts of a number are found over all merchants. Databases that took 0020 in its first form have it.
CREATE INDEX CONCURRENTLY IF NOT EXISTS payouts_of_payee ON payouts (payee_msisdn);

-- migrate:down transaction:false

DROP INDEX CONCURRENTLY IF EXISTS payouts_of_payee;
