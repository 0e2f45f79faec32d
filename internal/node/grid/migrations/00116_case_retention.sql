-- +goose Up
-- How long the closed case is kept, where the scenario that opened it says so; 0 is as the platform says for its class.
ALTER TABLE grid.cases ADD COLUMN retain_seconds bigint NOT NULL DEFAULT 0;
CREATE INDEX cases_retained ON grid.cases (updated_at) WHERE retain_seconds > 0 AND NOT open;
