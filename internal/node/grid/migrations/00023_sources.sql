-- +goose Up
-- What the platform itself knows and may share: views, so that a reader sees these columns and no other, and needs no right on the
-- tables. Free text, devices of a home and persons are in none that a dataset can name.

-- Where the registry has each device; the registry is in the bundle, and the grid service writes it down.
CREATE TABLE grid.devices (
    fleet     text NOT NULL,
    device    text NOT NULL,
    profile   text NOT NULL,
    community text NOT NULL,
    grid      text NOT NULL DEFAULT '',
    PRIMARY KEY (fleet, device)
);
CREATE INDEX devices_community ON grid.devices (community);

-- Telemetry by the hour: enough for a table of a city, too little to tell when somebody is at home.
CREATE TABLE grid.telemetry_hourly (
    fleet     text NOT NULL,
    device    text NOT NULL,
    community text NOT NULL,
    grid      text NOT NULL DEFAULT '',
    field     text NOT NULL,
    hour      timestamptz NOT NULL,
    -- Messages that had the field as a number.
    n         bigint NOT NULL,
    total     double precision NOT NULL,
    least     double precision NOT NULL,
    greatest  double precision NOT NULL,
    PRIMARY KEY (fleet, device, field, hour)
);
CREATE INDEX telemetry_hourly_community ON grid.telemetry_hourly (community, hour);
CREATE INDEX telemetry_hourly_hour ON grid.telemetry_hourly (hour);

CREATE VIEW platform.cases AS SELECT number, community, grid, scenario, class, severity, data_class, state, open, source,
    started_at, opened_at, updated_at, acknowledge_due, resolve_due, acknowledged_at, closed_at, acknowledge_overdue, resolve_overdue
    FROM grid.cases;

CREATE VIEW platform.devices AS SELECT d.fleet, d.device, d.profile, d.community, d.grid, s.first_seen, s.last_seen
    FROM grid.devices d LEFT JOIN grid.devices_seen s USING (fleet, device);

CREATE VIEW platform.telemetry AS SELECT fleet, device, community, grid, field, hour, n, total, least, greatest FROM grid.telemetry_hourly;

-- Facts of a case for a decision.
CREATE VIEW platform.case_facts AS SELECT number, community, class, severity, open, closed_at FROM grid.cases;

-- Who is on duty where, for rows that follow the roster.
CREATE VIEW platform.roster AS SELECT organization, person, role, community, grid FROM grid.roster;
