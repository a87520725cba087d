-- The inbox: one row per message that a consumer has dealt with, written in the same
-- transaction as the message's effect.
CREATE TABLE IF NOT EXISTS outrigger_inbox (
    consumer    text        NOT NULL,
    message_id  text        NOT NULL,
    received_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (consumer, message_id)
);

-- Old rows are collected by age.
CREATE INDEX IF NOT EXISTS outrigger_inbox_received_at ON outrigger_inbox (received_at);
