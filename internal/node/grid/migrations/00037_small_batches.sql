-- +goose Up
-- erase_bodies erases what is older than a time, at most 200 bodies at once, the oldest first, with the lists of subjects that no other body
-- refers to, and gives how many bodies that were: whoever calls it calls again until it gives 0. A body may name 1,000 subjects, and a call must
-- be over before its statement_timeout. It keeps to the six months for which the Cybersecurity Law has network logs kept, whoever asks.
-- +goose StatementBegin
CREATE OR REPLACE FUNCTION audit.erase_bodies(before timestamptz) RETURNS bigint LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog AS $$
DECLARE n bigint; lists text[];
BEGIN
    IF before IS NULL OR before > now() - interval '180 days' THEN
        RAISE EXCEPTION 'the decision log is kept for 180 days or more' USING ERRCODE = 'insufficient_privilege';
    END IF;
    WITH old AS (
        SELECT o.instance, o.seq, o.subject_list FROM audit.lines o WHERE o.at < before AND o.body IS NOT NULL ORDER BY o.at LIMIT 200 FOR UPDATE SKIP LOCKED
    ), erased AS (
        UPDATE audit.lines l SET body = NULL, erased_at = now() FROM old WHERE (old.instance, old.seq) = (l.instance, l.seq) RETURNING old.*
    ), unlinked AS (
        DELETE FROM audit.line_subjects s USING erased e WHERE s.instance = e.instance AND s.seq = e.seq
    ) SELECT count(*), array_agg(DISTINCT subject_list) INTO n, lists FROM erased;
    DELETE FROM audit.subject_lists s WHERE digest = ANY (lists) AND NOT EXISTS (SELECT FROM audit.lines l WHERE l.subject_list = s.digest);
    RETURN n;
END
$$;
-- +goose StatementEnd

-- forget_emergencies takes who read and why from uses of break-glass before a time, at most 500 at once, and gives how many. It keeps to the
-- same 180 days.
CREATE INDEX break_glass_named ON audit.break_glass (at) WHERE person <> '' OR reason <> '';
-- +goose StatementBegin
CREATE FUNCTION audit.forget_emergencies(before timestamptz) RETURNS bigint LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog AS $$
DECLARE n bigint;
BEGIN
    IF before IS NULL OR before > now() - interval '180 days' THEN
        RAISE EXCEPTION 'who broke the glass and why is kept for 180 days or more' USING ERRCODE = 'insufficient_privilege';
    END IF;
    UPDATE audit.break_glass SET person = '', reason = ''
        WHERE request = ANY (ARRAY(SELECT request FROM audit.break_glass WHERE at < before AND (person <> '' OR reason <> '') ORDER BY at LIMIT 500));
    GET DIAGNOSTICS n = ROW_COUNT;
    RETURN n;
END
$$;
-- +goose StatementEnd
