-- +goose Up
-- The last number that was given to a change: it goes on when all changes are deleted, and whoever gives numbers holds the row.
INSERT INTO grid.feed_position (reader, n) SELECT 'sequencer', coalesce(max(n), 0) FROM grid.changes ON CONFLICT (reader) DO NOTHING;
