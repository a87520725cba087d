-- The barrier: one row per call of a saga that this participant has dealt with, written in
-- the same transaction as the call's effect. It absorbs repeated, empty and late calls.
CREATE TABLE IF NOT EXISTS outrigger_barrier (
    -- Binary, because text would be equal to text with other case or more spaces.
    saga_id    VARBINARY(255) NOT NULL,
    step       VARBINARY(255) NOT NULL,
    phase      VARCHAR(8) CHARACTER SET ascii COLLATE ascii_bin NOT NULL
               CHECK (phase IN ('action', 'undo', 'try', 'confirm', 'cancel')),
    -- 'fenced': the undo was here before the action, which is too late from then on.
    outcome    VARCHAR(8) CHARACTER SET ascii COLLATE ascii_bin NOT NULL
               CHECK (outcome IN ('done', 'refused', 'fenced')),
    -- Of the call that was refused: the refusal holds for all calls up to this attempt.
    attempt    BIGINT NOT NULL,
    -- What a repeated call is answered: the output, or the reason of the refusal.
    output     MEDIUMBLOB,
    created_at DATETIME(3) NOT NULL DEFAULT (UTC_TIMESTAMP(3)),
    PRIMARY KEY (saga_id, step, phase),
    -- Old rows are collected by age.
    KEY outrigger_barrier_created_at (created_at)
) ENGINE = InnoDB;
