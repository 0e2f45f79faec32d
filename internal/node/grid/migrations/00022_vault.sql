-- +goose Up
-- The vault is the one place where a random id leads to a person. What says who it is lies sealed under a key of that subject: without
-- the key it is noise, also in a backup.

CREATE TABLE vault.subjects (
    subject    text PRIMARY KEY,
    created_at timestamptz NOT NULL,
    erased_at  timestamptz
);

-- Keys of subjects, wrapped by the vault's own. To destroy one is to delete its row.
CREATE TABLE vault.keys (
    subject text PRIMARY KEY REFERENCES vault.subjects,
    wrapped bytea NOT NULL
);

CREATE TABLE vault.identities (
    -- A Dataset, or a register of its own.
    source  text NOT NULL,
    -- HMAC of the provider's key of the person.
    key     bytea NOT NULL,
    subject text NOT NULL REFERENCES vault.subjects,
    -- AES-GCM under the subject's key.
    sealed  bytea NOT NULL,
    PRIMARY KEY (source, key)
);
CREATE INDEX identities_subject ON vault.identities (subject);

CREATE TABLE vault.relations (
    subject  text NOT NULL REFERENCES vault.subjects,
    guardian text NOT NULL REFERENCES vault.subjects,
    kind     text NOT NULL,
    since    timestamptz NOT NULL,
    PRIMARY KEY (subject, guardian)
);
CREATE INDEX relations_guardian ON vault.relations (guardian);

CREATE TABLE vault.households (
    household text PRIMARY KEY,
    sealed    bytea NOT NULL
);

CREATE TABLE vault.members (
    household text NOT NULL REFERENCES vault.households,
    subject   text NOT NULL REFERENCES vault.subjects,
    PRIMARY KEY (household, subject)
);
CREATE INDEX members_subject ON vault.members (subject);

-- What was done for a subject, signed. It outlives the subject: it says that something was erased, and nothing of what.
CREATE TABLE vault.receipts (
    id           uuid PRIMARY KEY,
    -- 'Erasure' lets bodies of the decision log be erased, for a day.
    kind         text NOT NULL,
    subject      text NOT NULL,
    at           timestamptz NOT NULL,
    organization text NOT NULL,
    person       text NOT NULL,
    jws          text NOT NULL
);
CREATE INDEX receipts_subject ON vault.receipts (subject);
CREATE TRIGGER receipts_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON vault.receipts
    FOR EACH STATEMENT EXECUTE FUNCTION grid.append_only();
