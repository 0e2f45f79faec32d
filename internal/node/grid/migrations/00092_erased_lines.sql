-- +goose Up
-- Lines of the decision log that speak of a person who was erased lose their bodies once the law no longer has them kept.

-- Erasures whose lines are not all gone. The vault destroyed what led to the person; the names that the log has stay here until no line
-- has them, and lead to no other place than the log does.
CREATE TABLE vault.erasing (
    -- The receipt of the erasure.
    receipt uuid PRIMARY KEY REFERENCES vault.receipts,
    subject text NOT NULL REFERENCES vault.subjects,
    -- Pseudonyms of the decision log.
    names   text[] NOT NULL,
    at      timestamptz NOT NULL,
    -- When it is looked again for lines that became old enough.
    next_at timestamptz NOT NULL
);
CREATE INDEX erasing_next ON vault.erasing (next_at);

CREATE INDEX lines_release_of_request ON audit.lines (request) WHERE kind = 'release' AND body IS NOT NULL;

-- Nothing called it, and it let who writes the log erase what the law has kept.
DROP FUNCTION audit.erase_body(text, bigint, uuid);

-- due_of gives the lines of gateways, older than 180 days, that speak of one person alone, whose names are given: releases of their rows, and the
-- decisions of requests that released nobody else's, where the reader's filter or reason may name the person. Lines of the vault itself go by their age.
-- +goose StatementBegin
CREATE FUNCTION audit.due_of(names text[], most integer) RETURNS TABLE (chain text, seq bigint)
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog AS $$
    WITH alone AS (
        SELECT l.instance, l.seq, l.request FROM (SELECT DISTINCT s.instance, s.seq FROM audit.line_subjects s WHERE s.subject = ANY (names)) n
        JOIN audit.lines l USING (instance, seq)
        WHERE l.kind = 'release' AND l.instance <> 'vault' AND l.at < now() - interval '180 days' AND l.body IS NOT NULL AND l.subject_list IS NULL
            AND NOT EXISTS (SELECT FROM audit.line_subjects o WHERE (o.instance, o.seq) = (l.instance, l.seq) AND o.subject <> ALL (names))
    ), decided AS (
        SELECT d.instance, d.seq FROM (SELECT DISTINCT a.instance, a.request FROM alone a) q
        JOIN audit.lines d ON d.request = q.request AND d.kind = 'decision' AND d.instance = q.instance
        -- Quotes within a JSON string are escaped, so that nothing in one can look like this.
        WHERE d.at < now() - interval '180 days' AND d.body IS NOT NULL
            AND (position('"filter":[' IN encode(d.body, 'escape')) > 0 OR position('"breakGlass":{' IN encode(d.body, 'escape')) > 0)
            AND NOT EXISTS (SELECT FROM audit.lines r WHERE r.request = d.request AND r.kind = 'release' AND r.instance = d.instance AND r.body IS NOT NULL
                AND (r.at >= now() - interval '180 days' OR r.subject_list IS NOT NULL
                    OR EXISTS (SELECT FROM audit.line_subjects o WHERE (o.instance, o.seq) = (r.instance, r.seq) AND o.subject <> ALL (names))))
    )
    SELECT a.instance, a.seq FROM alone a UNION SELECT d.instance, d.seq FROM decided d ORDER BY 1, 2 LIMIT least(most, 200)
$$;

-- erase_due erases what due_of gives, by a receipt of this day that names the lines, and gives how many bodies that were. Of emergencies among
-- them the reason goes as well.
CREATE FUNCTION audit.erase_due(by_receipt uuid, names text[], most integer) RETURNS bigint LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog AS $$
DECLARE n bigint;
BEGIN
    IF NOT EXISTS (SELECT FROM vault.receipts WHERE id = by_receipt AND kind = 'Records' AND at BETWEEN now() - interval '1 day' AND now() + interval '5 minutes') THEN
        RAISE EXCEPTION 'no receipt % of records within the last day', by_receipt USING ERRCODE = 'insufficient_privilege';
    END IF;
    WITH erased AS (
        UPDATE audit.lines l SET body = NULL, erased_at = now(), erased_by = by_receipt FROM audit.due_of(names, most) d
            WHERE l.instance = d.chain AND l.seq = d.seq AND l.body IS NOT NULL RETURNING l.instance, l.seq, l.kind, l.request
    ), unlinked AS (
        DELETE FROM audit.line_subjects s USING erased e WHERE s.instance = e.instance AND s.seq = e.seq
    ), silent AS (
        UPDATE audit.break_glass b SET reason = '' FROM erased e WHERE e.kind = 'decision' AND b.request = e.request AND b.reason <> ''
    ) SELECT count(*) INTO n FROM erased;
    RETURN n;
END
$$;

-- unname takes names out of the index of lines that are older than 180 days and speak of others, too, at most 500 at once: their bodies stay for the
-- others until their age, and nobody finds them by these names. It says whether any line is found by them still.
CREATE FUNCTION audit.unname(names text[]) RETURNS boolean LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog AS $$
BEGIN
    DELETE FROM audit.line_subjects s USING (
        SELECT s.subject, s.instance, s.seq FROM audit.line_subjects s JOIN audit.lines l USING (instance, seq)
        WHERE s.subject = ANY (names) AND l.instance <> 'vault' AND l.at < now() - interval '180 days' AND NOT EXISTS (SELECT FROM audit.due_of(names, 1)) LIMIT 500) old
        WHERE (s.subject, s.instance, s.seq) = (old.subject, old.instance, old.seq);
    RETURN EXISTS (SELECT FROM audit.line_subjects s WHERE s.subject = ANY (names) AND s.instance <> 'vault');
END
$$;
-- +goose StatementEnd

-- What an auditor gets of the vault: signed receipts that name lines and no person.
CREATE VIEW audit.line_receipts WITH (security_barrier) AS SELECT id, jws FROM vault.receipts WHERE kind = 'Records';
