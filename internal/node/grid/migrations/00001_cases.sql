-- +goose Up
-- Schemas and roles are made before by Migrate. No column of this file holds a name, a phone or an address of a person:
-- people are pseudonyms, homes are random ids.

CREATE SEQUENCE grid.case_number;

CREATE TABLE grid.cases (
    id                   uuid PRIMARY KEY,
    number               text NOT NULL UNIQUE,
    community            text NOT NULL,
    grid                 text NOT NULL DEFAULT '',
    fleet                text NOT NULL DEFAULT '',
    device               text NOT NULL DEFAULT '',
    scenario             text NOT NULL DEFAULT '',
    class                text NOT NULL,
    severity             text NOT NULL,
    title                text NOT NULL,
    data_class           text NOT NULL DEFAULT '',
    state                text NOT NULL,
    -- Says the same as State.Open.
    open                 boolean NOT NULL GENERATED ALWAYS AS (state NOT IN ('NotFiled', 'Closed', 'Rated', 'Void')) STORED,
    -- Device, Resident, GridWorker or System; with its id there, so that exchange with another system never loops.
    source               text NOT NULL,
    source_system        text NOT NULL DEFAULT '',
    external_id          text NOT NULL DEFAULT '',
    -- Signals that joined the case, the newest of them, and when the device last said that the cause is gone.
    signals              bigint NOT NULL DEFAULT 1,
    started_at           timestamptz NOT NULL,
    last_signal_at       timestamptz NOT NULL,
    cleared_at           timestamptz,
    opened_at            timestamptz NOT NULL,
    updated_at           timestamptz NOT NULL,
    acknowledge_due      timestamptz,
    resolve_due          timestamptz,
    acknowledged_at      timestamptz,
    closed_at            timestamptz,
    acknowledge_overdue  boolean NOT NULL DEFAULT false,
    resolve_overdue      boolean NOT NULL DEFAULT false,
    -- History entries so far; also the version of the case.
    version              integer NOT NULL DEFAULT 0
);
-- One open case per scenario and device, whatever goes wrong above the database.
CREATE UNIQUE INDEX cases_open_device ON grid.cases (scenario, fleet, device) WHERE open AND source = 'Device';
CREATE INDEX cases_community ON grid.cases (community, id DESC);
CREATE INDEX cases_open ON grid.cases (community) WHERE open;
CREATE INDEX cases_acknowledge ON grid.cases (acknowledge_due) WHERE open AND NOT acknowledge_overdue AND acknowledged_at IS NULL;
CREATE INDEX cases_resolve ON grid.cases (resolve_due) WHERE open AND NOT resolve_overdue;
CREATE UNIQUE INDEX cases_external ON grid.cases (source_system, external_id) WHERE external_id <> '';

CREATE TABLE grid.case_history (
    case_id      uuid NOT NULL REFERENCES grid.cases (id),
    n            integer NOT NULL,
    at           timestamptz NOT NULL,
    action       text NOT NULL,
    from_state   text NOT NULL,
    to_state     text NOT NULL,
    -- System, Device or Person; a person is an organisation, a pseudonym and a role.
    actor        text NOT NULL,
    organization text NOT NULL DEFAULT '',
    person       text NOT NULL DEFAULT '',
    role         text NOT NULL DEFAULT '',
    -- References: who was called, which signal, which note.
    detail       jsonb NOT NULL DEFAULT '{}',
    PRIMARY KEY (case_id, n)
);

-- Notes are free text and may be erased, so they are not in the history; it refers to them.
CREATE TABLE grid.case_notes (
    id      uuid PRIMARY KEY,
    case_id uuid NOT NULL REFERENCES grid.cases (id),
    at      timestamptz NOT NULL,
    text    text NOT NULL
);
CREATE INDEX case_notes_case ON grid.case_notes (case_id);

-- +goose StatementBegin
CREATE FUNCTION grid.append_only() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'table % is append-only', TG_TABLE_NAME USING ERRCODE = 'insufficient_privilege';
END
$$;
-- +goose StatementEnd
CREATE TRIGGER case_history_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON grid.case_history
    FOR EACH STATEMENT EXECUTE FUNCTION grid.append_only();

CREATE TABLE grid.dispatch_outbox (
    -- The webhook-id: the same for every attempt.
    id              uuid PRIMARY KEY,
    case_id         uuid NOT NULL REFERENCES grid.cases (id),
    organization    text NOT NULL,
    -- The very bytes that are signed and sent.
    payload         bytea NOT NULL,
    created_at      timestamptz NOT NULL,
    next_attempt_at timestamptz NOT NULL,
    attempts        integer NOT NULL DEFAULT 0,
    delivered_at    timestamptz,
    given_up_at     timestamptz,
    last_error      text NOT NULL DEFAULT ''
);
CREATE INDEX dispatch_outbox_due ON grid.dispatch_outbox (next_attempt_at) WHERE delivered_at IS NULL AND given_up_at IS NULL;
CREATE INDEX dispatch_outbox_organization ON grid.dispatch_outbox (organization);

CREATE TABLE grid.devices_seen (
    fleet      text NOT NULL,
    device     text NOT NULL,
    first_seen timestamptz NOT NULL,
    last_seen  timestamptz NOT NULL,
    PRIMARY KEY (fleet, device)
);

CREATE TABLE grid.engine_state (
    fleet  text NOT NULL,
    device text NOT NULL,
    state  bytea NOT NULL,
    PRIMARY KEY (fleet, device)
);

-- How far the ingest log is worked off. A stream that was made anew counts from 1 again, so its birth is kept, too.
CREATE TABLE grid.ingest_position (
    stream         text PRIMARY KEY,
    stream_created timestamptz NOT NULL,
    sequence       bigint NOT NULL
);

CREATE TABLE grid.roster (
    organization text NOT NULL,
    -- A pseudonym, the sub of the person's tokens.
    person       text NOT NULL,
    role         text NOT NULL,
    community    text NOT NULL,
    -- Empty means every grid of the community.
    grid         text NOT NULL DEFAULT '',
    PRIMARY KEY (organization, person, role, community, grid)
);
CREATE INDEX roster_community ON grid.roster (community);

CREATE TABLE grid.idempotency (
    organization text NOT NULL,
    key          text NOT NULL,
    digest       text NOT NULL,
    case_id      uuid NOT NULL REFERENCES grid.cases (id),
    at           timestamptz NOT NULL,
    PRIMARY KEY (organization, key)
);

CREATE TABLE grid.consents (
    subject      text NOT NULL,
    scope        text NOT NULL,
    given_at     timestamptz NOT NULL,
    withdrawn_at timestamptz,
    PRIMARY KEY (subject, scope, given_at)
);
