-- +goose Up
-- The retention sweep looks for the oldest of a class.
CREATE INDEX attachments_kept ON grid.attachments (class, at) WHERE erased_at IS NULL;
-- The case is looked at when the transaction ends: while the parts are written, nothing else waits for it.
ALTER TABLE grid.attachments ALTER CONSTRAINT attachments_case_id_fkey DEFERRABLE INITIALLY DEFERRED;
