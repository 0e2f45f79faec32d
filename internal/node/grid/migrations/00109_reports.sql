-- +goose Up
-- What a reporter holds: the receipt is told once, and stands here as its SHA-256.
CREATE TABLE grid.receipts (
    digest  bytea PRIMARY KEY CHECK (octet_length(digest) = 32),
    case_id uuid NOT NULL UNIQUE REFERENCES grid.cases ON DELETE CASCADE,
    at      timestamptz NOT NULL
);
-- How to reach whoever reported a case: apart from it, and gone before it.
CREATE TABLE grid.report_contacts (
    case_id    uuid PRIMARY KEY REFERENCES grid.cases ON DELETE CASCADE,
    at         timestamptz NOT NULL,
    name       text NOT NULL DEFAULT '',
    phone      text NOT NULL DEFAULT '',
    data_class text NOT NULL DEFAULT ''
);
CREATE INDEX report_contacts_over ON grid.report_contacts (data_class, at);
CREATE TRIGGER report_contacts_class BEFORE INSERT ON grid.report_contacts FOR EACH ROW EXECUTE FUNCTION grid.class_of_its_case();
