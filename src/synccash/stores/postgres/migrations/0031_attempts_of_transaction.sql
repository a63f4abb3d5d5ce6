-- migrate:up transaction:false

-- The console finds orders by the transaction id that a provider quotes.
CREATE INDEX CONCURRENTLY IF NOT EXISTS attempts_of_transaction ON attempts (provider_transaction_id)
    WHERE provider_transaction_id IS NOT NULL;

-- migrate:down transaction:false

DROP INDEX CONCURRENTLY IF EXISTS attempts_of_transaction;
