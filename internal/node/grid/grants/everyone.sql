-- PostgreSQL lets everybody run a function that it is not told to keep.
REVOKE ALL ON FUNCTION audit.only_erased(), audit.erase_bodies(timestamptz), audit.forget_emergencies(timestamptz), audit.due_of(text[], integer), audit.erase_due(uuid, text[], integer), audit.unname(text[]) FROM PUBLIC;
REVOKE ALL ON FUNCTION grid.forget_consents(timestamptz), audit.reads_of(text[], timestamptz, timestamptz, integer), audit.shipped(), audit.vault_end(), audit.vault_lines(bigint, integer),
    audit.vault_append(bigint, timestamptz, text, text, text, bytea, text[]), vault.erase_rows(text) FROM PUBLIC;
