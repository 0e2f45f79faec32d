-- +goose Up
-- Each data class has its own time to be kept: those of a class that are over come together, the oldest first.
CREATE INDEX commands_over_by_class ON grid.commands (data_class, greatest(expires_at, acknowledged_at, finished_at)) WHERE state <> 'Pending';
DROP INDEX grid.commands_over;
