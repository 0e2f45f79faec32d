-- +goose Up
-- A guardian's say ends: a child comes of age, an authority is taken back. NULL: not yet.
ALTER TABLE vault.relations ADD COLUMN until timestamptz;
-- Nobody ever filled them, and nothing asks who lives together: a consent is one person's.
DROP TABLE vault.members, vault.households;
