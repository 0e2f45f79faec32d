-- +goose Up
-- What people say of a household, a device or a place, such as "away"; the latest n of a name and member holds.
CREATE TABLE grid.facts (
    n            bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    scope        text NOT NULL,
    id           text NOT NULL,
    name         text NOT NULL,
    member       text NOT NULL DEFAULT '',
    value        jsonb,
    since        timestamptz NOT NULL,
    until        timestamptz,
    organization text NOT NULL,
    person       text NOT NULL,
    at           timestamptz NOT NULL
);
CREATE INDEX facts_of ON grid.facts (scope, id, name);
