-- The inbox: one row per message that a consumer has dealt with, written in the same
-- transaction as the message's effect.
CREATE TABLE IF NOT EXISTS outrigger_inbox (
    -- Binary, because text would be equal to text with other case or more spaces.
    consumer    VARBINARY(480) NOT NULL,
    message_id  VARBINARY(512) NOT NULL,
    received_at DATETIME(3) NOT NULL DEFAULT (UTC_TIMESTAMP(3)),
    PRIMARY KEY (consumer, message_id),
    -- Old rows are collected by age.
    KEY outrigger_inbox_received_at (received_at)
) ENGINE = InnoDB;
