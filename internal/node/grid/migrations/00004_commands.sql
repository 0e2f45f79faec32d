-- +goose Up
-- Commands to devices. No column holds a name, a phone or an address of a person: people are pseudonyms.

CREATE TABLE grid.commands (
    -- What the device writes into its ack; the same for every sending.
    id            uuid PRIMARY KEY,
    fleet         text NOT NULL,
    device        text NOT NULL,
    -- Where the device hung when the command was given: one that was moved since does not get it.
    community     text NOT NULL,
    grid          text NOT NULL DEFAULT '',
    command       text NOT NULL,
    arguments     jsonb NOT NULL,
    -- Scenario, Operator, Vendor, or SafeState for what the platform sends by itself.
    sender        text NOT NULL,
    -- Who gave it: a person is an organisation, a pseudonym and a role.
    organization  text NOT NULL DEFAULT '',
    person        text NOT NULL DEFAULT '',
    role          text NOT NULL DEFAULT '',
    -- The alarm that gave it (scenario, device and start), its case if it has one, and how much that says about people.
    scenario      text NOT NULL DEFAULT '',
    alarm         text NOT NULL DEFAULT '',
    case_id       uuid REFERENCES grid.cases (id),
    data_class    text NOT NULL DEFAULT '',
    -- The command whose safe state this is.
    cause         uuid REFERENCES grid.commands (id),
    -- What must not be given twice: a request's key, an alarm's command, a safe state. digest is that of the request.
    once          text,
    digest        text NOT NULL DEFAULT '',
    state         text NOT NULL,
    -- Why it is Void, Withdrawn or Superseded; and the device's own words.
    reason        text NOT NULL DEFAULT '',
    detail        text NOT NULL DEFAULT '',
    created_at    timestamptz NOT NULL,
    expires_at    timestamptz NOT NULL,
    next_send_at  timestamptz NOT NULL,
    last_sent_at  timestamptz,
    sent          integer NOT NULL DEFAULT 0,
    acknowledged_at timestamptz,
    finished_at   timestamptz,
    -- History entries so far.
    version       integer NOT NULL DEFAULT 0
);
CREATE UNIQUE INDEX commands_once ON grid.commands (once);
-- Two commands of one name that are sent again and again would fight; the newer one counts, whatever goes wrong above the database.
CREATE UNIQUE INDEX commands_pending ON grid.commands (fleet, device, command) WHERE state = 'Pending';
CREATE INDEX commands_due ON grid.commands (least(next_send_at, expires_at)) WHERE state = 'Pending';
CREATE INDEX commands_device ON grid.commands (fleet, device, id DESC);
CREATE INDEX commands_alarm ON grid.commands (alarm) WHERE alarm <> '';

CREATE TABLE grid.command_history (
    command_id   uuid NOT NULL REFERENCES grid.commands (id),
    n            integer NOT NULL,
    at           timestamptz NOT NULL,
    action       text NOT NULL,
    from_state   text NOT NULL,
    to_state     text NOT NULL,
    actor        text NOT NULL,
    organization text NOT NULL DEFAULT '',
    person       text NOT NULL DEFAULT '',
    role         text NOT NULL DEFAULT '',
    detail       jsonb NOT NULL DEFAULT '{}',
    PRIMARY KEY (command_id, n)
);
CREATE TRIGGER command_history_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON grid.command_history
    FOR EACH STATEMENT EXECUTE FUNCTION grid.append_only();

-- What a device is to keep: one row for each device that somebody wanted something of.
CREATE TABLE grid.desired (
    fleet        text NOT NULL,
    device       text NOT NULL,
    -- What the device writes into its ack; new with every change.
    id           uuid NOT NULL UNIQUE,
    community    text NOT NULL,
    grid         text NOT NULL DEFAULT '',
    -- {command: {arguments, sender, organization, at}}
    entries      jsonb NOT NULL,
    -- Pending until the device acknowledges it, then Received, Done or Failed; Pending again when the device comes back.
    state        text NOT NULL,
    detail       text NOT NULL DEFAULT '',
    changed_at   timestamptz NOT NULL,
    next_send_at timestamptz NOT NULL,
    last_sent_at timestamptz,
    sent         integer NOT NULL DEFAULT 0,
    acknowledged_at timestamptz,
    version      integer NOT NULL DEFAULT 0,
    PRIMARY KEY (fleet, device)
);
CREATE INDEX desired_due ON grid.desired (next_send_at) WHERE state = 'Pending';

CREATE TABLE grid.desired_history (
    fleet        text NOT NULL,
    device       text NOT NULL,
    n            integer NOT NULL,
    at           timestamptz NOT NULL,
    action       text NOT NULL,
    -- The state's id after it, and the command that was set or dropped.
    id           uuid NOT NULL,
    command      text NOT NULL DEFAULT '',
    actor        text NOT NULL,
    organization text NOT NULL DEFAULT '',
    person       text NOT NULL DEFAULT '',
    role         text NOT NULL DEFAULT '',
    detail       jsonb NOT NULL DEFAULT '{}',
    PRIMARY KEY (fleet, device, n)
);
CREATE TRIGGER desired_history_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON grid.desired_history
    FOR EACH STATEMENT EXECUTE FUNCTION grid.append_only();
