-- The least rights of the grid service and the gateway. Every statement may be run again. The gateway has three users: the one that reads
-- datasets cannot write, the one that writes the log cannot change it, the one of the vault reads no dataset.
GRANT USAGE ON SCHEMA grid TO dizuo_grid;
GRANT USAGE ON SEQUENCE grid.case_number TO dizuo_grid;
GRANT SELECT, INSERT, UPDATE ON grid.cases, grid.dispatch_outbox, grid.devices_seen, grid.engine_state, grid.ingest_position, grid.edge_position, grid.invalid_messages TO dizuo_grid;
REVOKE ALL ON grid.consents FROM dizuo_grid;
GRANT DELETE ON grid.engine_state TO dizuo_grid;
GRANT SELECT, INSERT ON grid.case_history TO dizuo_grid;
GRANT SELECT, INSERT, UPDATE ON grid.commands, grid.desired TO dizuo_grid;
GRANT DELETE ON grid.commands TO dizuo_grid;
GRANT SELECT, INSERT ON grid.command_history, grid.desired_history TO dizuo_grid;
GRANT SELECT, INSERT, DELETE ON grid.case_notes, grid.roster, grid.idempotency TO dizuo_grid;
GRANT SELECT, INSERT, UPDATE, DELETE ON grid.devices, grid.telemetry_hourly TO dizuo_grid;

GRANT USAGE ON SCHEMA grid, datasets TO dizuo_gateway;
REVOKE ALL ON grid.consents FROM dizuo_gateway;
GRANT SELECT (subject, scope, purposes, given_at, withdrawn_at, expires_at) ON grid.consents TO dizuo_gateway;
ALTER DEFAULT PRIVILEGES IN SCHEMA datasets GRANT SELECT ON TABLES TO dizuo_gateway;
GRANT SELECT ON ALL TABLES IN SCHEMA datasets TO dizuo_gateway;
GRANT USAGE ON SCHEMA platform TO dizuo_gateway;
GRANT SELECT ON platform.cases, platform.devices, platform.telemetry, platform.case_facts, platform.roster TO dizuo_gateway;

GRANT USAGE ON SCHEMA audit TO dizuo_audit;
GRANT SELECT, INSERT ON audit.lines, audit.line_subjects, audit.subject_lists, audit.checkpoints, audit.policy_objects, audit.leases, audit.break_glass, audit.use TO dizuo_audit;
GRANT UPDATE (receipts) ON audit.checkpoints TO dizuo_audit;
GRANT UPDATE (alerted_at, reviewed_at, reviewed_by, verdict) ON audit.break_glass TO dizuo_audit;
GRANT UPDATE (requests, records) ON audit.use TO dizuo_audit;
REVOKE ALL ON FUNCTION audit.only_erased(), audit.erase_bodies(timestamptz), audit.erase_body(text, bigint, uuid) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION audit.erase_bodies(timestamptz), audit.erase_body(text, bigint, uuid) TO dizuo_audit;

GRANT USAGE ON SCHEMA vault, grid TO dizuo_vault;
GRANT SELECT, INSERT ON vault.subjects, vault.receipts TO dizuo_vault;
GRANT UPDATE (erased_at) ON vault.subjects TO dizuo_vault;
GRANT SELECT, INSERT, DELETE ON vault.keys, vault.relations, vault.members TO dizuo_vault;
GRANT SELECT, INSERT, UPDATE, DELETE ON vault.identities, vault.households TO dizuo_vault;
GRANT SELECT, INSERT, UPDATE (withdrawn_at, withdrawal_evidence) ON grid.consents TO dizuo_vault;
