-- +goose Up
-- A switch of the mode (平战) is a change without a case: version is its number in grid.modes, mode the mode that it brought.
ALTER TABLE grid.changes ALTER COLUMN case_id DROP NOT NULL;
ALTER TABLE grid.changes ADD mode text NOT NULL DEFAULT '';
ALTER TABLE grid.changes ADD CONSTRAINT changes_of CHECK ((case_id IS NULL) = (mode <> ''));
CREATE INDEX changes_of_mode ON grid.changes (n) WHERE case_id IS NULL;
