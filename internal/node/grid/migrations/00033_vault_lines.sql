-- +goose Up
-- vault_lines gives lines of the vault's chain behind one, as they were written, for who checks the chain.
-- +goose StatementBegin
CREATE FUNCTION audit.vault_lines(behind bigint, most integer) RETURNS TABLE (seq bigint, header text, body bytea)
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog AS $$
    SELECT l.seq, l.header, l.body FROM audit.lines l WHERE l.instance = 'vault' AND l.seq > behind ORDER BY l.seq LIMIT least(most, 1000)
$$;
-- +goose StatementEnd
