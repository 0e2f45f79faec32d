-- +goose Up
-- What is over goes when its time to be kept is over. Each index serves one deletion, the oldest of a data class first.
CREATE INDEX cases_over ON grid.cases (data_class, updated_at) WHERE NOT open;
-- A note has the data class of its case, so that what is kept long is not walked over.
ALTER TABLE grid.case_notes ADD COLUMN data_class text NOT NULL DEFAULT '';
UPDATE grid.case_notes n SET data_class = c.data_class FROM grid.cases c WHERE c.id = n.case_id;
CREATE INDEX case_notes_over ON grid.case_notes (data_class, at);
CREATE INDEX dispatch_outbox_over ON grid.dispatch_outbox (coalesce(delivered_at, given_up_at)) WHERE delivered_at IS NOT NULL OR given_up_at IS NOT NULL;
CREATE INDEX consents_over ON grid.consents (least(withdrawn_at, expires_at)) WHERE withdrawn_at IS NOT NULL OR expires_at IS NOT NULL;
-- A case goes with all that hangs on it, but for commands: it waits for them.
CREATE INDEX commands_case ON grid.commands (case_id) WHERE case_id IS NOT NULL;
CREATE INDEX dispatch_outbox_case ON grid.dispatch_outbox (case_id);
CREATE INDEX idempotency_case ON grid.idempotency (case_id);

ALTER TABLE grid.case_history DROP CONSTRAINT case_history_case_id_fkey,
    ADD CONSTRAINT case_history_case_id_fkey FOREIGN KEY (case_id) REFERENCES grid.cases (id) ON DELETE CASCADE;
ALTER TABLE grid.case_notes DROP CONSTRAINT case_notes_case_id_fkey,
    ADD CONSTRAINT case_notes_case_id_fkey FOREIGN KEY (case_id) REFERENCES grid.cases (id) ON DELETE CASCADE;
ALTER TABLE grid.dispatch_outbox DROP CONSTRAINT dispatch_outbox_case_id_fkey,
    ADD CONSTRAINT dispatch_outbox_case_id_fkey FOREIGN KEY (case_id) REFERENCES grid.cases (id) ON DELETE CASCADE;
ALTER TABLE grid.idempotency DROP CONSTRAINT idempotency_case_id_fkey,
    ADD CONSTRAINT idempotency_case_id_fkey FOREIGN KEY (case_id) REFERENCES grid.cases (id) ON DELETE CASCADE;
DROP TRIGGER case_history_append_only ON grid.case_history;
CREATE TRIGGER case_history_append_only BEFORE UPDATE OR TRUNCATE ON grid.case_history
    FOR EACH STATEMENT EXECUTE FUNCTION grid.append_only();

-- +goose StatementBegin
CREATE FUNCTION grid.with_its_case() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (SELECT FROM grid.cases c WHERE c.id = OLD.case_id) THEN
        RAISE EXCEPTION 'history of case % goes with the case alone', OLD.case_id USING ERRCODE = 'insufficient_privilege';
    END IF;
    RETURN OLD;
END
$$;
CREATE FUNCTION grid.class_of_its_case() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    SELECT c.data_class INTO NEW.data_class FROM grid.cases c WHERE c.id = NEW.case_id;
    NEW.data_class := coalesce(NEW.data_class, '');
    RETURN NEW;
END
$$;
CREATE FUNCTION grid.not_open() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF OLD.open THEN
        RAISE EXCEPTION 'case % is open', OLD.id USING ERRCODE = 'insufficient_privilege';
    END IF;
    RETURN OLD;
END
$$;
-- +goose StatementEnd
CREATE TRIGGER case_notes_class BEFORE INSERT ON grid.case_notes FOR EACH ROW EXECUTE FUNCTION grid.class_of_its_case();
CREATE TRIGGER case_history_goes_along BEFORE DELETE ON grid.case_history FOR EACH ROW EXECUTE FUNCTION grid.with_its_case();
CREATE TRIGGER cases_not_open BEFORE DELETE ON grid.cases FOR EACH ROW EXECUTE FUNCTION grid.not_open();

-- erase_bodies erases what is older than a time, at most 5,000 bodies at once, the oldest first, with the lists of subjects that no other body
-- refers to, and gives how many bodies that were: whoever calls it calls again until it gives 0. It keeps to the six months for which the
-- Cybersecurity Law has network logs kept, whoever asks.
-- +goose StatementBegin
CREATE OR REPLACE FUNCTION audit.erase_bodies(before timestamptz) RETURNS bigint LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog AS $$
DECLARE n bigint; lists text[];
BEGIN
    IF before IS NULL OR before > now() - interval '180 days' THEN
        RAISE EXCEPTION 'the decision log is kept for 180 days or more' USING ERRCODE = 'insufficient_privilege';
    END IF;
    WITH old AS (
        SELECT o.instance, o.seq, o.subject_list FROM audit.lines o WHERE o.at < before AND o.body IS NOT NULL ORDER BY o.at LIMIT 5000 FOR UPDATE SKIP LOCKED
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

-- forget_consents deletes consents that ended before a time, at most 500 at once, and gives how many. It keeps to three years after the end,
-- whoever asks: so long somebody may claim that data were read without right, and a consent proves the contrary.
-- +goose StatementBegin
CREATE FUNCTION grid.forget_consents(before timestamptz) RETURNS bigint LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog AS $$
DECLARE n bigint;
BEGIN
    IF before IS NULL OR before > now() - interval '1095 days' THEN
        RAISE EXCEPTION 'a consent is kept for three years after its end' USING ERRCODE = 'insufficient_privilege';
    END IF;
    DELETE FROM grid.consents WHERE id = ANY (ARRAY(SELECT id FROM grid.consents
        WHERE (withdrawn_at IS NOT NULL OR expires_at IS NOT NULL) AND least(withdrawn_at, expires_at) < before ORDER BY least(withdrawn_at, expires_at) LIMIT 500));
    GET DIAGNOSTICS n = ROW_COUNT;
    RETURN n;
END
$$;
-- +goose StatementEnd
