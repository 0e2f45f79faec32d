-- +goose Up
-- A mode that a person ends gives way to Routine, which lasts until the next: its row says who ended the mode before, and why.
ALTER TABLE grid.modes ALTER COLUMN expires_at DROP NOT NULL;
