-- The gateway where it keeps the vault: it reads no dataset.
GRANT USAGE ON SCHEMA vault, grid TO dizuo_vault;
GRANT SELECT, INSERT ON vault.subjects, vault.receipts TO dizuo_vault;
GRANT UPDATE (erased_at) ON vault.subjects TO dizuo_vault;
GRANT SELECT, INSERT, DELETE ON vault.keys, vault.relations, vault.members TO dizuo_vault;
GRANT SELECT, INSERT, UPDATE, DELETE ON vault.identities, vault.households TO dizuo_vault;
GRANT SELECT, INSERT, UPDATE (withdrawn_at, withdrawal_evidence) ON grid.consents TO dizuo_vault;
