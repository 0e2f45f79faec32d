-- +goose Up
-- What whoever reviews an emergency must know of it, and where the note of the review is kept. Who read is a pseudonym of the consumer.
ALTER TABLE audit.break_glass
    ADD COLUMN agreement      text NOT NULL DEFAULT '',
    ADD COLUMN dataset        text NOT NULL DEFAULT '',
    ADD COLUMN consumer       text NOT NULL DEFAULT '',
    ADD COLUMN person         text NOT NULL DEFAULT '',
    ADD COLUMN role           text NOT NULL DEFAULT '',
    ADD COLUMN reason         text NOT NULL DEFAULT '',
    ADD COLUMN note_reference text NOT NULL DEFAULT '';
CREATE INDEX break_glass_reviewer ON audit.break_glass (reviewer, at) WHERE reviewed_at IS NULL;
