-- +goose Up
-- The feed of changes. n is given by one sequencer after commit, so that no gap is filled later; cause names the integration it came from.
CREATE TABLE grid.changes (
    id        bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    n         bigint UNIQUE,
    case_id   uuid NOT NULL,
    version   int NOT NULL,
    kind      text NOT NULL,
    community text NOT NULL,
    at        timestamptz NOT NULL,
    cause     text NOT NULL DEFAULT ''
);
CREATE INDEX changes_unnumbered ON grid.changes (id) WHERE n IS NULL;
CREATE TABLE grid.feed_position (
    reader text PRIMARY KEY,
    n      bigint NOT NULL
);
