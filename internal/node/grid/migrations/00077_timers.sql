-- +goose Up
-- A clock of a case is a row: whoever deletes it, acts. due is NULL while it stands still.
CREATE TABLE grid.timers (
    case_id       uuid NOT NULL REFERENCES grid.cases ON DELETE CASCADE,
    kind          text NOT NULL CHECK (kind IN ('Acknowledge', 'OnSite', 'Resolve', 'Step', 'Call', 'Open')),
    party         text NOT NULL DEFAULT '',
    round         int NOT NULL DEFAULT 1,
    working       boolean NOT NULL DEFAULT false,
    left_ms       bigint NOT NULL,
    running_since timestamptz,
    due           timestamptz,
    -- Digest of the calendar that due was reckoned with.
    calendar      text NOT NULL DEFAULT '',
    PRIMARY KEY (case_id, kind, party, round),
    CHECK ((due IS NULL) = (running_since IS NULL))
);
CREATE INDEX timers_due ON grid.timers (due) WHERE due IS NOT NULL;
ALTER TABLE grid.case_history ADD COLUMN once text NOT NULL DEFAULT '';
CREATE UNIQUE INDEX case_history_once ON grid.case_history (case_id, once) WHERE once <> '';
