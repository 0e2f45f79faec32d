-- +goose Up
-- Until now alerted_at repeated the time of the use. It is when a person of the reviewer was first shown the use in the list of those that
-- wait for a review; NULL: not yet.
UPDATE audit.break_glass SET alerted_at = NULL WHERE alerted_at = at;
COMMENT ON COLUMN audit.break_glass.alerted_at IS 'when a person of the reviewing organisation was first shown the use; NULL: not yet';
