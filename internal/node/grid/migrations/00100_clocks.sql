-- +goose Up
-- Times of cases are timers from now on. round counts the times that were set for a case; 0 is a case that has none yet: of before, or made by
-- a replica of before while the new ones come up. The sweeper gives it timers by its due columns, under the case's lock, so that each time
-- that was running runs on and none that was missed is missed again.
ALTER TABLE grid.cases ADD COLUMN onsite_due timestamptz, ADD COLUMN onsite_overdue boolean NOT NULL DEFAULT false, ADD COLUMN round int NOT NULL DEFAULT 0;
CREATE INDEX cases_without_timers ON grid.cases (id) WHERE open AND round = 0;
DROP INDEX grid.cases_acknowledge;
DROP INDEX grid.cases_resolve;
