-- +goose Up
CREATE TABLE grid.attachments (
    id          uuid PRIMARY KEY,
    case_id     uuid NOT NULL REFERENCES grid.cases ON DELETE CASCADE,
    at          timestamptz NOT NULL,
    media_type  text NOT NULL,
    bytes       bigint NOT NULL CHECK (bytes BETWEEN 0 AND 10485760),
    digest      text NOT NULL,
    class       text NOT NULL,
    erase_after timestamptz,
    erased_at   timestamptz,
    erased_by   text NOT NULL DEFAULT ''
);
CREATE INDEX attachments_case ON grid.attachments (case_id);
CREATE INDEX attachments_over ON grid.attachments (erase_after) WHERE erased_at IS NULL;
CREATE TABLE grid.attachment_parts (
    id   uuid NOT NULL REFERENCES grid.attachments ON DELETE CASCADE,
    n    int NOT NULL,
    data bytea NOT NULL CHECK (octet_length(data) <= 1048576),
    PRIMARY KEY (id, n)
);
