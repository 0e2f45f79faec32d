-- +goose Up
-- A message that nobody took for a day is a dead letter. One that is replayed is tried for a day from then.
ALTER TABLE grid.dispatch_outbox ADD COLUMN tried_since timestamptz;
UPDATE grid.dispatch_outbox SET dead_at = given_up_at WHERE given_up_at IS NOT NULL AND dead_at IS NULL;
DROP INDEX grid.dispatch_outbox_due;
CREATE INDEX dispatch_outbox_due ON grid.dispatch_outbox (next_attempt_at) WHERE delivered_at IS NULL AND dead_at IS NULL;
DROP INDEX grid.dispatch_outbox_over;
CREATE INDEX dispatch_outbox_over ON grid.dispatch_outbox (coalesce(delivered_at, dead_at)) WHERE delivered_at IS NOT NULL OR dead_at IS NOT NULL;
CREATE INDEX dispatch_outbox_list ON grid.dispatch_outbox (organization, id);
DROP INDEX grid.dispatch_outbox_organization;
