-- +goose Up
CREATE INDEX changes_over ON grid.changes (at);
