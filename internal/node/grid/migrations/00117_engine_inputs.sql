-- +goose Up
-- That a scenario opened the case upon changes of cases or answers of commands: changes of it are shown to no scenario that would open another.
ALTER TABLE grid.cases ADD derived boolean NOT NULL DEFAULT false;
-- The engine reads the feed from here on: what was before is acted upon no more.
INSERT INTO grid.feed_position (reader, n) SELECT 'engine.changes', n FROM grid.feed_position WHERE reader = 'sequencer' ON CONFLICT (reader) DO NOTHING;
