-- Whoever takes the logs of gateways out of the store: it reads what an auditor gets, and writes nothing.
GRANT USAGE ON SCHEMA audit TO dizuo_auditor;
GRANT SELECT ON audit.gateway_lines, audit.subject_lists, audit.checkpoints, audit.policy_objects, audit.public_keys, audit.line_receipts TO dizuo_auditor;
