-- The barrier: one row per call of a saga that this participant has dealt with, written in
-- the same transaction as the call's effect. It absorbs repeated, empty and late calls.
CREATE TABLE IF NOT EXISTS outrigger_barrier (
    saga_id    TEXT    NOT NULL,
    step       TEXT    NOT NULL,
    phase      TEXT    NOT NULL CHECK (phase IN ('action', 'undo', 'try', 'confirm', 'cancel')),
    -- 'fenced': the undo was here before the action, which is too late from then on.
    outcome    TEXT    NOT NULL CHECK (outcome IN ('done', 'refused', 'fenced')),
    -- Of the call that was refused: the refusal holds for all calls up to this attempt.
    attempt    INTEGER NOT NULL,
    -- What a repeated call is answered: the output, or the reason of the refusal.
    output     BLOB,
    -- Milliseconds since the Unix epoch.
    created_at INTEGER NOT NULL DEFAULT (CAST((julianday('now') - 2440587.5) * 86400000.0 AS INTEGER)),
    PRIMARY KEY (saga_id, step, phase)
) WITHOUT ROWID;

-- Old rows are collected by age.
CREATE INDEX IF NOT EXISTS outrigger_barrier_created_at ON outrigger_barrier (created_at);
