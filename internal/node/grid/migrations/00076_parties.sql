-- +goose Up
-- Which alarm went into which case, once; and who was called to a case.
ALTER TABLE grid.cases
    ADD COLUMN title_en text NOT NULL DEFAULT '', ADD COLUMN merge_key text NOT NULL DEFAULT '', ADD COLUMN scope text NOT NULL DEFAULT '',
    ADD COLUMN scope_id text NOT NULL DEFAULT '', ADD COLUMN compound text NOT NULL DEFAULT '', ADD COLUMN building text NOT NULL DEFAULT '',
    ADD COLUMN micro_grid text NOT NULL DEFAULT '', ADD COLUMN household text NOT NULL DEFAULT '', ADD COLUMN channel text NOT NULL DEFAULT '',
    ADD COLUMN level smallint NOT NULL DEFAULT 0, ADD COLUMN gb_part int, ADD COLUMN gb_year int, ADD COLUMN gb_code text,
    ADD COLUMN closing jsonb NOT NULL DEFAULT '[]', ADD COLUMN parent uuid REFERENCES grid.cases ON DELETE SET NULL, ADD COLUMN incident uuid,
    ADD COLUMN assignee_organization text NOT NULL DEFAULT '', ADD COLUMN assignee_person text NOT NULL DEFAULT '', ADD COLUMN assignee_post text NOT NULL DEFAULT '',
    ADD COLUMN score smallint, ADD COLUMN rated_at timestamptz, ADD COLUMN reopened int NOT NULL DEFAULT 0, ADD COLUMN escalated int NOT NULL DEFAULT 0,
    ADD COLUMN onsite_at timestamptz, ADD COLUMN mode text NOT NULL DEFAULT '', ADD COLUMN retain_until timestamptz;
CREATE UNIQUE INDEX cases_open_merge ON grid.cases (merge_key) WHERE open AND merge_key <> '';
CREATE INDEX cases_parent ON grid.cases (parent) WHERE parent IS NOT NULL;

CREATE TABLE grid.case_alarms (
    case_id      uuid NOT NULL REFERENCES grid.cases ON DELETE CASCADE,
    scenario     text NOT NULL,
    scope        text NOT NULL,
    scope_id     text NOT NULL,
    -- The name of the alarm, which never changes; began moves with late evidence.
    start        timestamptz NOT NULL,
    began        timestamptz NOT NULL,
    severity     text NOT NULL,
    cleared_at   timestamptz,
    retracted_at timestamptz,
    PRIMARY KEY (scenario, scope, scope_id, start)
);
CREATE INDEX case_alarms_case ON grid.case_alarms (case_id);

CREATE TABLE grid.case_parties (
    id              uuid PRIMARY KEY,
    case_id         uuid NOT NULL REFERENCES grid.cases ON DELETE CASCADE,
    kind            text NOT NULL CHECK (kind IN ('Responder', 'Escalation', 'Joint', 'Call', 'Told')),
    step            smallint NOT NULL DEFAULT 1,
    level           smallint NOT NULL DEFAULT 0,
    post            text NOT NULL DEFAULT '',
    organization    text NOT NULL DEFAULT '',
    person          text NOT NULL DEFAULT '',
    called_at       timestamptz NOT NULL,
    acknowledged_at timestamptz,
    onsite_at       timestamptz,
    done_at         timestamptz,
    released_at     timestamptz,
    release         text NOT NULL DEFAULT '',
    UNIQUE (case_id, kind, step, post, organization, person)
);
CREATE INDEX case_parties_organization ON grid.case_parties (organization, case_id);
