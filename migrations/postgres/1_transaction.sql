-- The fence: one row per local transaction decides, once and for ever, whether it
-- committed. The application inserts 'commit' as the first statement of its local
-- transaction; a check-back inserts 'rollback'. Whoever is second sees the first one's row.
CREATE TABLE IF NOT EXISTS outrigger_transaction (
    id             uuid        NOT NULL PRIMARY KEY,
    decision       text        NOT NULL CHECK (decision IN ('commit', 'rollback')),
    producer_group text        NOT NULL,
    -- The body of messages whose body is fixed inside the local transaction.
    payload        bytea,
    created_at     timestamptz NOT NULL DEFAULT now()
);

-- Each producer group collects its old rows by age.
CREATE INDEX IF NOT EXISTS outrigger_transaction_age
    ON outrigger_transaction (producer_group, created_at);
