-- +goose Up
ALTER TABLE grid.dispatch_outbox ADD COLUMN type text NOT NULL DEFAULT '', ADD COLUMN method text NOT NULL DEFAULT 'Webhook',
    ADD COLUMN dead_at timestamptz, ADD COLUMN replays int NOT NULL DEFAULT 0;
-- A case that another system has too: the version of theirs that was seen, and of ours that was sent.
CREATE TABLE grid.mirrors (
    system      text NOT NULL,
    external_id text NOT NULL,
    case_id     uuid NOT NULL REFERENCES grid.cases ON DELETE CASCADE,
    theirs      text NOT NULL DEFAULT '',
    ours        int NOT NULL DEFAULT 0,
    digest      text NOT NULL DEFAULT '',
    at          timestamptz NOT NULL,
    problem     text NOT NULL DEFAULT '',
    PRIMARY KEY (system, external_id),
    UNIQUE (system, case_id)
);
CREATE INDEX mirrors_case ON grid.mirrors (case_id);
