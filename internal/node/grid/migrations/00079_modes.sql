-- +goose Up
-- Who switched the mode, when, until when and why. A row is only ended; its reason may be erased.
CREATE TABLE grid.modes (
    n            bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    mode         text NOT NULL,
    since        timestamptz NOT NULL,
    expires_at   timestamptz NOT NULL CHECK (expires_at > since),
    ended_at     timestamptz,
    reason       text NOT NULL,
    organization text NOT NULL,
    person       text NOT NULL,
    role         text NOT NULL
);
CREATE UNIQUE INDEX modes_current ON grid.modes ((true)) WHERE ended_at IS NULL;
