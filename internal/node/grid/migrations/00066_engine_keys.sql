-- +goose Up
-- The state of the scenario engine by key: a scenario, and the device or place that it is about. What was in engine_state, by device, is
-- converted when it is next loaded. A row with an empty scenario is what the alarms of a place make of each other.
CREATE TABLE grid.engine_keys (
    scenario text NOT NULL,
    scope    text NOT NULL,
    id       text NOT NULL,
    state    bytea NOT NULL,
    PRIMARY KEY (scenario, scope, id)
);
