-- +goose Up
-- What somebody may read back who takes the logs of gateways out of the store for an auditor. The vault's chain is not theirs.
CREATE VIEW audit.gateway_lines AS
    SELECT instance, seq, at, kind, request, header, body, subject_list, erased_at, erased_by FROM audit.lines WHERE instance <> 'vault';

-- Public keys by which something was signed that is kept: bundles, and checkpoints of logs. One that signs no more is needed as long as what
-- it signed.
CREATE TABLE audit.public_keys (
    -- 'bundle' or 'checkpoint'.
    kind       text NOT NULL CHECK (kind IN ('bundle', 'checkpoint')),
    -- The hexadecimal SHA-256 of the key.
    id         text NOT NULL,
    -- Base64 of SPKI, DER.
    public_key text NOT NULL,
    -- When a gateway trusted it or signed with it first and last, to the hour.
    first_seen timestamptz NOT NULL,
    last_seen  timestamptz NOT NULL,
    PRIMARY KEY (kind, id)
);
