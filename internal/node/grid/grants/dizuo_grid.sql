-- The least rights of the grid service. Every statement may be run again.
GRANT USAGE ON SCHEMA grid TO dizuo_grid;
GRANT USAGE ON SEQUENCE grid.case_number TO dizuo_grid;
GRANT SELECT, INSERT, UPDATE ON grid.cases, grid.dispatch_outbox, grid.devices_seen, grid.engine_keys, grid.engine_state, grid.ingest_position, grid.edge_position, grid.invalid_messages, grid.signals_kept TO dizuo_grid;
REVOKE ALL ON grid.consents FROM dizuo_grid;
GRANT DELETE ON grid.engine_keys, grid.engine_state TO dizuo_grid;
GRANT SELECT, INSERT ON grid.case_history TO dizuo_grid;
GRANT SELECT, INSERT, UPDATE ON grid.commands, grid.desired TO dizuo_grid;
GRANT DELETE ON grid.commands, grid.cases, grid.dispatch_outbox TO dizuo_grid;
GRANT SELECT, INSERT ON grid.command_history, grid.desired_history TO dizuo_grid;
GRANT SELECT, INSERT, DELETE ON grid.case_notes, grid.roster, grid.idempotency TO dizuo_grid;
GRANT SELECT, INSERT, UPDATE, DELETE ON grid.devices, grid.telemetry_hourly TO dizuo_grid;
GRANT SELECT, INSERT, UPDATE ON grid.case_alarms, grid.case_parties, grid.feed_position, grid.mirrors, grid.exchange TO dizuo_grid;
GRANT SELECT, INSERT, UPDATE, DELETE ON grid.alarms_waiting, grid.timers, grid.people, grid.shifts, grid.substitutes TO dizuo_grid;
GRANT SELECT, INSERT, DELETE, UPDATE (n) ON grid.changes TO dizuo_grid;
GRANT SELECT, INSERT, UPDATE (ended_at, reason) ON grid.modes TO dizuo_grid;
GRANT SELECT, INSERT ON grid.people_reads, grid.ratings TO dizuo_grid;
GRANT SELECT, INSERT, UPDATE (digest, at) ON grid.receipts TO dizuo_grid;
GRANT SELECT, INSERT, DELETE ON grid.report_contacts TO dizuo_grid;
GRANT SELECT, INSERT, UPDATE (erase_after, erased_at, erased_by) ON grid.attachments TO dizuo_grid;
GRANT SELECT, INSERT, DELETE ON grid.attachment_parts, grid.command_answers, grid.facts, grid.ledger TO dizuo_grid;
-- Parameters of its statements hold names and phones of people: they stay out of the server's log. Only a superuser may say so; where the owner is
-- none, the guide to an external database does.
DO $$ BEGIN
    ALTER ROLE dizuo_grid SET log_parameter_max_length = 0;
EXCEPTION WHEN insufficient_privilege THEN NULL;
END $$;
