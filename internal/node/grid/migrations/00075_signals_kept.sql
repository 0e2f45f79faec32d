-- +goose Up
-- What is said of a fleet's signals, the last time that the bundle had the fleet: they go by it when the fleet is there no more.
CREATE TABLE grid.signals_kept (
    fleet      text PRIMARY KEY,
    -- As of the fleet's profile.
    data_class text NOT NULL,
    -- What the profile itself says; 0 goes by the class.
    seconds    bigint NOT NULL
);
-- Telemetry goes fleet by fleet, the oldest first: what another fleet keeps longer is not walked over.
CREATE INDEX telemetry_hourly_over ON grid.telemetry_hourly (fleet, hour);
DROP INDEX grid.telemetry_hourly_hour;
