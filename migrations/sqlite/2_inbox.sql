-- The inbox: one row per message that a consumer has dealt with, written in the same
-- transaction as the message's effect.
CREATE TABLE IF NOT EXISTS outrigger_inbox (
    consumer    TEXT    NOT NULL,
    message_id  TEXT    NOT NULL,
    -- Milliseconds since the Unix epoch.
    received_at INTEGER NOT NULL DEFAULT (CAST((julianday('now') - 2440587.5) * 86400000.0 AS INTEGER)),
    PRIMARY KEY (consumer, message_id)
) WITHOUT ROWID;

-- Old rows are collected by age.
CREATE INDEX IF NOT EXISTS outrigger_inbox_received_at ON outrigger_inbox (received_at);
