-- +goose Up
-- What the vault records of consents is said to the engine as facts are: numbered in the order in which it commits, whoever writes it. The place is
-- the subject, the member the scope. It holds from when it was written down: a form that is older makes nothing of what was seen before it.
-- +goose StatementBegin
CREATE FUNCTION grid.say_consent() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog AS $$
DECLARE
    stands boolean;
    ends timestamptz;
BEGIN
    SELECT count(*) > 0, CASE WHEN count(*) = count(expires_at) THEN max(expires_at) END INTO stands, ends
        FROM grid.consents WHERE subject = NEW.subject AND scope = NEW.scope AND withdrawn_at IS NULL AND (expires_at IS NULL OR expires_at > clock_timestamp());
    INSERT INTO grid.facts (scope, id, name, member, value, since, until, organization, person, at)
        VALUES ('Subject', NEW.subject, 'consents', NEW.scope, CASE WHEN stands THEN 'true'::jsonb END, clock_timestamp(), ends, '', '', clock_timestamp());
    RETURN NULL;
END $$;
-- +goose StatementEnd
REVOKE ALL ON FUNCTION grid.say_consent() FROM PUBLIC;
-- The lock of facts is taken before any row is: two who write several consents each would else wait for each other.
-- +goose StatementBegin
CREATE FUNCTION grid.hold_facts() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_advisory_xact_lock(1685717063); -- factsLock
    RETURN NULL;
END $$;
-- +goose StatementEnd
REVOKE ALL ON FUNCTION grid.hold_facts() FROM PUBLIC;
CREATE TRIGGER consent_waits BEFORE INSERT OR UPDATE OF withdrawn_at, expires_at ON grid.consents FOR EACH STATEMENT EXECUTE FUNCTION grid.hold_facts();
CREATE TRIGGER consent_said AFTER INSERT OR UPDATE OF withdrawn_at, expires_at ON grid.consents FOR EACH ROW EXECUTE FUNCTION grid.say_consent();
-- Those that stand already.
INSERT INTO grid.facts (scope, id, name, member, value, since, until, organization, person, at)
    SELECT 'Subject', subject, 'consents', scope, 'true', clock_timestamp(), CASE WHEN count(*) = count(expires_at) THEN max(expires_at) END, '', '', clock_timestamp()
    FROM grid.consents WHERE withdrawn_at IS NULL AND (expires_at IS NULL OR expires_at > clock_timestamp()) GROUP BY subject, scope;
