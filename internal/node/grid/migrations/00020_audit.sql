-- +goose Up
-- Decision logs of all gateways, as they were shipped. The schema is made before by Migrate. Subjects are keyed pseudonyms, persons
-- who read are pseudonyms of their organisations.

-- Lists of more than 1,000 subjects, by their digest; each comes before the first line that refers to it.
CREATE TABLE audit.subject_lists (
    digest   text PRIMARY KEY,
    subjects text[] NOT NULL
);

CREATE TABLE audit.lines (
    -- The chain: a gateway's instance, and a new one where a gateway lost its log.
    instance  text NOT NULL,
    seq       bigint NOT NULL,
    at        timestamptz NOT NULL,
    kind      text NOT NULL,
    request   text NOT NULL,
    -- The agreement; empty where a line is of none.
    uid       text NOT NULL DEFAULT '',
    -- The very bytes of the line without its body: the chain is over them.
    header    text NOT NULL,
    -- The very bytes whose digest the header has. NULL: erased, or a line of format 1, which is all header.
    body      bytea,
    -- The list that the body refers to. Quotes within a JSON string are escaped, so that nothing in one can look like this.
    subject_list text GENERATED ALWAYS AS (substring(encode(body, 'escape') FROM '"subjectList":\{"digest":"([^"]+)"')) STORED
        REFERENCES audit.subject_lists,
    erased_at timestamptz,
    -- The receipt by which it was erased; NULL means by its age.
    erased_by uuid,
    PRIMARY KEY (instance, seq)
);
CREATE INDEX lines_uid ON audit.lines (uid, at);
CREATE INDEX lines_subject_list ON audit.lines (subject_list) WHERE subject_list IS NOT NULL;
CREATE INDEX lines_at ON audit.lines (at) WHERE body IS NOT NULL;

-- Whose rows a line released: "who read my father's record?" is a lookup.
CREATE TABLE audit.line_subjects (
    subject  text NOT NULL,
    instance text NOT NULL,
    seq      bigint NOT NULL,
    PRIMARY KEY (subject, instance, seq)
);
CREATE INDEX line_subjects_line ON audit.line_subjects (instance, seq);

CREATE TABLE audit.checkpoints (
    instance text NOT NULL,
    seq      bigint NOT NULL,
    jws      text NOT NULL,
    -- By witness.
    receipts jsonb NOT NULL DEFAULT '{}',
    PRIMARY KEY (instance, seq)
);

-- Signed parts of bundles by which was decided, so that a decision can be made again years later.
CREATE TABLE audit.policy_objects (
    digest text PRIMARY KEY,
    name   text NOT NULL,
    sealed bytea NOT NULL,
    at     timestamptz NOT NULL
);

CREATE TABLE audit.leases (
    sequence bigint PRIMARY KEY,
    jws      text NOT NULL
);

CREATE TABLE audit.break_glass (
    request     text PRIMARY KEY,
    uid         text NOT NULL,
    -- The Organization that reviews.
    reviewer    text NOT NULL,
    at          timestamptz NOT NULL,
    review_due  timestamptz NOT NULL,
    alerted_at  timestamptz,
    reviewed_at timestamptz,
    reviewed_by text,
    verdict     text,
    CHECK ((reviewed_at IS NULL) = (reviewed_by IS NULL) AND (reviewed_at IS NULL) = (verdict IS NULL))
);
CREATE INDEX break_glass_open ON audit.break_glass (uid, review_due) WHERE reviewed_at IS NULL;

-- What was taken of the quotas of agreements, by all gateways.
CREATE TABLE audit.use (
    uid      text NOT NULL,
    step     timestamptz NOT NULL,
    requests bigint NOT NULL,
    records  bigint NOT NULL,
    PRIMARY KEY (uid, step)
);

-- +goose StatementBegin
CREATE FUNCTION audit.only_erased() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog AS $$
BEGIN
    IF OLD.body IS NULL OR NEW.body IS NOT NULL OR NEW.erased_at IS NULL
        OR (NEW.instance, NEW.seq, NEW.at, NEW.kind, NEW.request, NEW.uid, NEW.header)
            IS DISTINCT FROM (OLD.instance, OLD.seq, OLD.at, OLD.kind, OLD.request, OLD.uid, OLD.header) THEN
        RAISE EXCEPTION 'a line of the decision log may lose its body and nothing else' USING ERRCODE = 'insufficient_privilege';
    END IF;
    RETURN NEW;
END
$$;
-- +goose StatementEnd
CREATE TRIGGER lines_only_erased BEFORE UPDATE ON audit.lines FOR EACH ROW EXECUTE FUNCTION audit.only_erased();
CREATE TRIGGER lines_append_only BEFORE DELETE OR TRUNCATE ON audit.lines FOR EACH STATEMENT EXECUTE FUNCTION grid.append_only();

-- erase_bodies erases what is older than a time, with the lists of subjects that no other body refers to, and gives how many lines that were. It keeps to the six months for which the
-- Cybersecurity Law has network logs kept, whoever asks.
-- +goose StatementBegin
CREATE FUNCTION audit.erase_bodies(before timestamptz) RETURNS bigint LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog AS $$
DECLARE n bigint; lists text[];
BEGIN
    IF before IS NULL OR before > now() - interval '180 days' THEN
        RAISE EXCEPTION 'the decision log is kept for 180 days or more' USING ERRCODE = 'insufficient_privilege';
    END IF;
    WITH erased AS (
        UPDATE audit.lines l SET body = NULL, erased_at = now() FROM audit.lines o
        WHERE (o.instance, o.seq) = (l.instance, l.seq) AND l.at < before AND l.body IS NOT NULL RETURNING l.instance, l.seq, o.subject_list
    ), unlinked AS (
        DELETE FROM audit.line_subjects s USING erased e WHERE s.instance = e.instance AND s.seq = e.seq
    ) SELECT count(*), array_agg(DISTINCT subject_list) INTO n, lists FROM erased;
    DELETE FROM audit.subject_lists s WHERE digest = ANY (lists) AND NOT EXISTS (SELECT FROM audit.lines l WHERE l.subject_list = s.digest);
    RETURN n;
END
$$;
-- +goose StatementEnd

-- erase_body erases one line, for which there must be a receipt of an erasure of this day, and says whether there was something to erase. Who may write receipts
-- may not call it, and who may call it may not write receipts.
-- +goose StatementBegin
CREATE FUNCTION audit.erase_body(chain text, line bigint, receipt uuid) RETURNS boolean LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog AS $$
DECLARE list text;
BEGIN
    IF NOT EXISTS (SELECT FROM vault.receipts WHERE id = receipt AND kind = 'Erasure' AND at BETWEEN now() - interval '1 day' AND now() + interval '5 minutes') THEN
        RAISE EXCEPTION 'no receipt % of an erasure within the last day', receipt USING ERRCODE = 'insufficient_privilege';
    END IF;
    SELECT subject_list INTO list FROM audit.lines WHERE instance = chain AND seq = line AND body IS NOT NULL FOR UPDATE;
    IF NOT FOUND THEN
        RETURN false;
    END IF;
    UPDATE audit.lines SET body = NULL, erased_at = now(), erased_by = receipt WHERE instance = chain AND seq = line;
    DELETE FROM audit.line_subjects WHERE instance = chain AND seq = line;
    DELETE FROM audit.subject_lists WHERE digest = list AND NOT EXISTS (SELECT FROM audit.lines WHERE subject_list = list);
    RETURN true;
END
$$;
-- +goose StatementEnd
