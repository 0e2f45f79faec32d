-- +goose Up
-- How the exchange with each system stands: the cursor of what was read there, and the change up to which it was looked what goes there;
-- outbound_n is null before the first look.
CREATE TABLE grid.exchange (
    system         text PRIMARY KEY,
    inbound_cursor text NOT NULL DEFAULT '',
    outbound_n     bigint,
    received       bigint NOT NULL DEFAULT 0,
    sent           bigint NOT NULL DEFAULT 0,
    conflicts      bigint NOT NULL DEFAULT 0,
    last_error     text NOT NULL DEFAULT '',
    reconciled_at  timestamptz,
    ours           int NOT NULL DEFAULT 0,
    theirs         int NOT NULL DEFAULT 0,
    unreconciled   int NOT NULL DEFAULT 0,
    -- Ids of cases, of which at most 100 are named, on which the two sides did not agree when they were last compared.
    differ         text[] NOT NULL DEFAULT '{}'
);
-- Versions of theirs are numbers: an older one is told from a newer one. state is the one that they are known to have, sent the digest of what
-- else they were told, digest that of all that they are known to have. again_at is when the case is to be told next, after so many attempts.
ALTER TABLE grid.mirrors ALTER COLUMN theirs DROP DEFAULT;
ALTER TABLE grid.mirrors ALTER COLUMN theirs TYPE bigint USING coalesce(nullif(theirs, ''), '0')::bigint;
ALTER TABLE grid.mirrors ALTER COLUMN theirs SET DEFAULT 0;
ALTER TABLE grid.mirrors ADD COLUMN state text NOT NULL DEFAULT '', ADD COLUMN sent text NOT NULL DEFAULT '', ADD COLUMN again_at timestamptz, ADD COLUMN attempts int NOT NULL DEFAULT 0;
CREATE INDEX mirrors_again ON grid.mirrors (system, again_at) WHERE again_at IS NOT NULL;
