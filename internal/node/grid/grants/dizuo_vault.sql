-- The role vault: it reads no dataset, and of the decision log what is of one subject.
GRANT USAGE ON SCHEMA vault, grid, audit TO dizuo_vault;
GRANT SELECT, INSERT ON vault.subjects, vault.receipts, vault.tasks TO dizuo_vault;
GRANT SELECT, INSERT, DELETE ON vault.erasing TO dizuo_vault;
GRANT UPDATE (next_at) ON vault.erasing TO dizuo_vault;
GRANT DELETE ON vault.tasks TO dizuo_vault;
GRANT UPDATE (erased_at) ON vault.subjects TO dizuo_vault;
GRANT UPDATE (sealed, done_at, outcome) ON vault.tasks TO dizuo_vault;
GRANT SELECT, INSERT, DELETE ON vault.keys, vault.relations TO dizuo_vault;
GRANT SELECT, INSERT, UPDATE, DELETE ON vault.identities TO dizuo_vault;
GRANT UPDATE (kind, until) ON vault.relations TO dizuo_vault;
GRANT SELECT, INSERT, UPDATE (withdrawn_at, withdrawal_evidence, expires_at) ON grid.consents TO dizuo_vault;
GRANT INSERT (id, organization, payload, created_at, next_attempt_at) ON grid.dispatch_outbox TO dizuo_vault;
GRANT EXECUTE ON FUNCTION audit.erase_bodies(timestamptz), audit.forget_emergencies(timestamptz), grid.forget_consents(timestamptz), audit.reads_of(text[], timestamptz, timestamptz, integer), audit.shipped(), audit.vault_end(), audit.vault_lines(bigint, integer),
    audit.vault_append(bigint, timestamptz, text, text, text, bytea, text[]), vault.erase_rows(text),
    audit.due_of(text[], integer), audit.erase_due(uuid, text[], integer), audit.unname(text[]) TO dizuo_vault;
