-- migrate:up

-- One-time links that sign an operator in to the console of this machine: `synccash up` and `synccash console`
-- write them with database credentials. A link is deleted when it is used.
CREATE TABLE operator_links (
    code_hash   bytea PRIMARY KEY CHECK (octet_length(code_hash) = 32),
    operator_id text NOT NULL REFERENCES operators,
    expires_at  timestamptz NOT NULL
);

-- migrate:down

DROP TABLE operator_links;
