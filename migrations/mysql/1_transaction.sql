-- The fence: one row per local transaction decides, once and for ever, whether it
-- committed. The application inserts 'commit' as the first statement of its local
-- transaction; a check-back inserts 'rollback'. Whoever is second sees the first one's row.
CREATE TABLE IF NOT EXISTS outrigger_transaction (
    -- The transaction's UUID, hyphenated, in lower case.
    id             CHAR(36) CHARACTER SET ascii COLLATE ascii_bin NOT NULL PRIMARY KEY,
    decision       VARCHAR(8) CHARACTER SET ascii COLLATE ascii_bin NOT NULL
                   CHECK (decision IN ('commit', 'rollback')),
    -- Binary, because text would be equal to text with other case or more spaces.
    producer_group VARBINARY(480) NOT NULL,
    -- The body of messages whose body is fixed inside the local transaction.
    payload        LONGBLOB,
    created_at     DATETIME(3) NOT NULL DEFAULT (UTC_TIMESTAMP(3)),
    -- Each producer group collects its old rows by age.
    KEY outrigger_transaction_age (producer_group, created_at)
) ENGINE = InnoDB;
