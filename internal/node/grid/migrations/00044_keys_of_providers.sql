-- +goose Up
-- Whose word it is that a key of a provider's own database stands for a person: the dataset's provider's. Empty: somebody else wrote it down,
-- and by it no row is given out. Another provider of a dataset of the same name begins without any.
ALTER TABLE vault.identities ADD COLUMN provider text NOT NULL DEFAULT '';
