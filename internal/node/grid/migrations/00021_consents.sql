-- +goose Up
-- A consent says who may read what for, until when, and how it was given. People are ids: a subject, and for a child or a ward the
-- guardian who gave it; what proves it lies elsewhere and is referred to.
ALTER TABLE grid.consents
    ADD COLUMN id uuid NOT NULL DEFAULT gen_random_uuid() UNIQUE,
    -- It covers these purposes and no other.
    ADD COLUMN purposes text[] NOT NULL DEFAULT '{}',
    ADD COLUMN expires_at timestamptz,
    ADD COLUMN guardian text NOT NULL DEFAULT '',
    ADD COLUMN evidence text NOT NULL DEFAULT '',
    -- The Organization that it was given to, and the person there, a pseudonym, who wrote it down.
    ADD COLUMN given_to text NOT NULL DEFAULT '',
    ADD COLUMN recorded_by text NOT NULL DEFAULT '',
    ADD COLUMN withdrawal_evidence text NOT NULL DEFAULT '',
    ADD CHECK (withdrawn_at IS NULL OR withdrawn_at >= given_at) NOT VALID,
    ADD CHECK (expires_at IS NULL OR expires_at > given_at);
CREATE INDEX consents_active ON grid.consents (scope, subject) WHERE withdrawn_at IS NULL;
