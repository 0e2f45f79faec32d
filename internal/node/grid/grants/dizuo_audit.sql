-- The gateway where it writes the decision log: it cannot change it.
GRANT USAGE ON SCHEMA audit TO dizuo_audit;
GRANT SELECT, INSERT ON audit.lines, audit.line_subjects, audit.subject_lists, audit.checkpoints, audit.policy_objects, audit.leases, audit.break_glass, audit.use, audit.public_keys TO dizuo_audit;
GRANT UPDATE (last_seen) ON audit.public_keys TO dizuo_audit;
GRANT UPDATE (receipts) ON audit.checkpoints TO dizuo_audit;
GRANT UPDATE (alerted_at, reviewed_at, reviewed_by, verdict, note_reference) ON audit.break_glass TO dizuo_audit;
GRANT UPDATE (requests, records) ON audit.use TO dizuo_audit;
GRANT EXECUTE ON FUNCTION audit.erase_bodies(timestamptz) TO dizuo_audit;
