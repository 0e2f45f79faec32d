-- +goose Up
-- What a resident may ask of the platform: see what was read, have it put right, have it erased.

-- Where the subject lives, as a division code: who answers for it may ask about them. Empty: the city's data office alone.
ALTER TABLE vault.subjects ADD COLUMN division text NOT NULL DEFAULT '';

-- What is asked of the one writer of a dataset, who alone may change it. What is personal in it is sealed, and goes when it is done.
CREATE TABLE vault.tasks (
    id           uuid PRIMARY KEY,
    -- 'Correction' or 'Erasure'.
    kind         text NOT NULL,
    dataset      text NOT NULL,
    organization text NOT NULL,
    subject      text NOT NULL REFERENCES vault.subjects,
    fields       text[] NOT NULL DEFAULT '{}',
    sealed       bytea,
    created_at   timestamptz NOT NULL,
    done_at      timestamptz,
    -- 'Done', 'NotThere' or 'Refused'.
    outcome      text NOT NULL DEFAULT '',
    CHECK ((done_at IS NULL) = (outcome = '')),
    CHECK (done_at IS NULL OR sealed IS NULL)
);
CREATE INDEX tasks_open ON vault.tasks (organization, created_at) WHERE done_at IS NULL;
CREATE INDEX tasks_subject ON vault.tasks (subject);
CREATE INDEX tasks_done ON vault.tasks (done_at) WHERE done_at IS NOT NULL;

-- A message to an organisation may be about a task and no case.
ALTER TABLE grid.dispatch_outbox ALTER COLUMN case_id DROP NOT NULL;

-- "Who read my father's record?" is a lookup: by line, by list, and from there to the decision of the request.
CREATE INDEX subject_lists_subjects ON audit.subject_lists USING gin (subjects);
CREATE INDEX lines_decision_of_request ON audit.lines (request) WHERE kind = 'decision';

-- reads_of gives what the decision log says of the reading of one subject, and nothing of anybody else's: of the released lines their times, and the
-- decision that each rests on: the last before it, since a stream is decided again and again; lines of the vault and of consents themselves. The latest come first.
-- +goose StatementBegin
CREATE FUNCTION audit.reads_of(pseudonyms text[], since timestamptz, until timestamptz, most integer)
    RETURNS TABLE (chain text, seq bigint, at timestamptz, kind text, request text, header text, body bytea)
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog AS $$
    WITH hit AS (
        SELECT s.instance, s.seq FROM audit.line_subjects s WHERE s.subject = ANY (pseudonyms)
        UNION
        SELECT l.instance, l.seq FROM audit.subject_lists s JOIN audit.lines l ON l.subject_list = s.digest WHERE s.subjects && pseudonyms
    )
    SELECT l.instance, l.seq, l.at, l.kind, l.request, coalesce(d.header, own.header), coalesce(d.body, own.body)
    FROM hit JOIN audit.lines l USING (instance, seq)
    LEFT JOIN LATERAL (SELECT x.header, x.body FROM audit.lines x WHERE x.request = l.request AND x.kind = 'decision' AND x.instance = l.instance AND x.seq < l.seq
        ORDER BY x.seq DESC LIMIT 1) d ON l.kind NOT IN ('vault', 'consent')
    LEFT JOIN LATERAL (SELECT l.header, l.body WHERE l.kind IN ('vault', 'consent')) own ON true
    WHERE l.at >= since AND l.at < until
    ORDER BY l.at DESC, l.instance, l.seq DESC LIMIT least(most, 10000)
$$;
-- +goose StatementEnd

-- shipped gives how far the log of each gateway is in the platform's store: what it read later is not in an answer yet.
-- +goose StatementBegin
CREATE FUNCTION audit.shipped() RETURNS TABLE (chain text, at timestamptz)
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog AS $$
    WITH RECURSIVE chains AS (
        (SELECT l.instance FROM audit.lines l ORDER BY l.instance LIMIT 1)
        UNION ALL
        SELECT (SELECT l.instance FROM audit.lines l WHERE l.instance > c.instance ORDER BY l.instance LIMIT 1) FROM chains c WHERE c.instance IS NOT NULL
    )
    SELECT c.instance, (SELECT l.at FROM audit.lines l WHERE l.instance = c.instance ORDER BY l.seq DESC LIMIT 1) FROM chains c WHERE c.instance IS NOT NULL
$$;
-- +goose StatementEnd

-- The vault's own chain lies here from its beginning: a line and what it says are committed together. vault_end locks the chain until the
-- transaction is over and gives its end; vault_append adds the line behind it, and the subjects that it is about.
-- +goose StatementBegin
CREATE FUNCTION audit.vault_end() RETURNS TABLE (seq bigint, header text)
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog AS $$
BEGIN
    PERFORM pg_advisory_xact_lock(1685716997); -- 0x647a0005
    RETURN QUERY SELECT l.seq, l.header FROM audit.lines l WHERE l.instance = 'vault' ORDER BY l.seq DESC LIMIT 1;
END
$$;
CREATE FUNCTION audit.vault_append(line bigint, moment timestamptz, kind text, request text, header text, body bytea, pseudonyms text[]) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog AS $$
BEGIN
    IF kind NOT IN ('vault', 'consent') OR line <> (SELECT coalesce(max(l.seq), 0) + 1 FROM audit.lines l WHERE l.instance = 'vault') THEN
        RAISE EXCEPTION 'the vault appends lines of its own chain and nothing else' USING ERRCODE = 'insufficient_privilege';
    END IF;
    INSERT INTO audit.lines (instance, seq, at, kind, request, header, body) VALUES ('vault', line, moment, kind, request, header, body);
    INSERT INTO audit.line_subjects (subject, instance, seq) SELECT DISTINCT p, 'vault', line FROM unnest(pseudonyms) p;
END
$$;
-- +goose StatementEnd

-- erase_rows deletes the rows of a subject from the platform's own datasets and says how many. A table that is another's is not touched: -1.
-- +goose StatementBegin
CREATE FUNCTION vault.erase_rows(whose text) RETURNS TABLE (dataset text, deleted bigint)
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog AS $$
BEGIN
    FOREACH dataset IN ARRAY ARRAY['households', 'registers'] LOOP
        IF EXISTS (SELECT FROM pg_attribute WHERE attrelid = to_regclass('datasets.' || dataset) AND attname = 'subject' AND NOT attisdropped) THEN
            BEGIN
                EXECUTE format('DELETE FROM datasets.%I WHERE subject::text = $1', dataset) USING whose;
                GET DIAGNOSTICS deleted = ROW_COUNT;
            EXCEPTION WHEN insufficient_privilege OR wrong_object_type THEN
                deleted := -1;
            END;
            RETURN NEXT;
        END IF;
    END LOOP;
END
$$;
-- +goose StatementEnd

-- Who ships the logs of gateways writes none of the vault's.
-- +goose StatementBegin
CREATE FUNCTION audit.vault_only() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog AS $$
BEGIN
    IF current_user = 'dizuo_audit' THEN
        RAISE EXCEPTION 'the chain vault is the vault''s' USING ERRCODE = 'insufficient_privilege';
    END IF;
    RETURN NEW;
END
$$;
-- +goose StatementEnd
CREATE TRIGGER lines_vault_only BEFORE INSERT ON audit.lines FOR EACH ROW WHEN (NEW.instance = 'vault') EXECUTE FUNCTION audit.vault_only();
