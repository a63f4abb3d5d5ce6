-- migrate:up

-- When an operator has dealt with a contradiction; NULL: the console still lists it.
ALTER TABLE contradictions ADD COLUMN closed_at timestamptz;

-- migrate:down

ALTER TABLE contradictions DROP COLUMN closed_at;
