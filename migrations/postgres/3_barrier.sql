-- The barrier: one row per call of a saga that this participant has dealt with, written in
-- the same transaction as the call's effect. It absorbs repeated, empty and late calls.
CREATE TABLE IF NOT EXISTS outrigger_barrier (
    saga_id    text        NOT NULL,
    step       text        NOT NULL,
    phase      text        NOT NULL CHECK (phase IN ('action', 'undo', 'try', 'confirm', 'cancel')),
    -- 'fenced': the undo was here before the action, which is too late from then on.
    outcome    text        NOT NULL CHECK (outcome IN ('done', 'refused', 'fenced')),
    -- Of the call that was refused: the refusal holds for all calls up to this attempt.
    attempt    bigint      NOT NULL,
    -- What a repeated call is answered: the output, or the reason of the refusal.
    output     bytea,
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (saga_id, step, phase)
);

-- Old rows are collected by age.
CREATE INDEX IF NOT EXISTS outrigger_barrier_created_at ON outrigger_barrier (created_at);
