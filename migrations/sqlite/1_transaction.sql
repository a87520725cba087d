-- The fence: one row per local transaction decides, once and for ever, whether it
-- committed. The application inserts 'commit' as the first statement of its local
-- transaction; a check-back inserts 'rollback'. Whoever is second sees the first one's row.
CREATE TABLE IF NOT EXISTS outrigger_transaction (
    -- The transaction's UUID, hyphenated, in lower case.
    id             TEXT    NOT NULL PRIMARY KEY,
    decision       TEXT    NOT NULL CHECK (decision IN ('commit', 'rollback')),
    producer_group TEXT    NOT NULL,
    -- The body of messages whose body is fixed inside the local transaction.
    payload        BLOB,
    -- Milliseconds since the Unix epoch.
    created_at     INTEGER NOT NULL DEFAULT (CAST((julianday('now') - 2440587.5) * 86400000.0 AS INTEGER))
) WITHOUT ROWID;

-- Each producer group collects its old rows by age.
CREATE INDEX IF NOT EXISTS outrigger_transaction_age
    ON outrigger_transaction (producer_group, created_at);
