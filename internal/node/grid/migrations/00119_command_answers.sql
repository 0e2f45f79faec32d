-- +goose Up
-- What became of commands since the engine looked: it takes the rows, and deletes them in the transaction that writes what it made of them.
CREATE TABLE grid.command_answers (
    id       bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    fleet    text NOT NULL,
    device   text NOT NULL,
    command  text NOT NULL,
    state    text NOT NULL,
    reason   text NOT NULL,
    sender   text NOT NULL,
    scenario text NOT NULL,
    at       timestamptz NOT NULL
);
