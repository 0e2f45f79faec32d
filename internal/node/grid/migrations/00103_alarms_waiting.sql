-- +goose Up
-- Alarms that must stand for some time before they open a case: the timer of a case that is not there yet. Whoever deletes a row that is due
-- opens the case, in the same transaction.
CREATE TABLE grid.alarms_waiting (
    id             uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    -- The name of the alarm, as in case_alarms.
    scenario       text NOT NULL,
    scope          text NOT NULL,
    scope_id       text NOT NULL,
    start          timestamptz NOT NULL,
    began          timestamptz NOT NULL,
    severity       text NOT NULL,
    -- What made it graver.
    graver         text[] NOT NULL DEFAULT '{}',
    fleet          text NOT NULL,
    device         text NOT NULL,
    signals        bigint NOT NULL DEFAULT 1,
    last_signal_at timestamptz NOT NULL,
    due            timestamptz NOT NULL,
    UNIQUE (scenario, scope, scope_id, start)
);
CREATE INDEX alarms_waiting_due ON grid.alarms_waiting (due);
