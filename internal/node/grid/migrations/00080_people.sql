-- +goose Up
-- The only table with names and phones of staff. Who read it is written down and stays.
CREATE TABLE grid.people (
    organization text NOT NULL,
    person       text NOT NULL,
    name         text NOT NULL,
    phone        text NOT NULL DEFAULT '',
    updated_at   timestamptz NOT NULL,
    PRIMARY KEY (organization, person)
);
ALTER TABLE grid.roster ADD COLUMN post text NOT NULL DEFAULT '', ADD COLUMN micro_grid text NOT NULL DEFAULT '', ADD COLUMN rank smallint NOT NULL DEFAULT 1;
CREATE TABLE grid.shifts (
    organization text NOT NULL,
    community    text NOT NULL,
    post         text NOT NULL,
    grid         text NOT NULL DEFAULT '',
    micro_grid   text NOT NULL DEFAULT '',
    -- Bit 0 is Monday. Minutes of the local day; to_min below from_min is the next day.
    weekdays     smallint NOT NULL,
    from_min     smallint NOT NULL,
    to_min       smallint NOT NULL,
    person       text NOT NULL,
    valid_from   date NOT NULL,
    valid_to     date
);
CREATE INDEX shifts_of_post ON grid.shifts (community, post);
CREATE TABLE grid.substitutes (
    organization text NOT NULL,
    person       text NOT NULL,
    substitute   text NOT NULL CHECK (substitute <> person),
    from_at      timestamptz NOT NULL,
    to_at        timestamptz NOT NULL CHECK (to_at > from_at),
    PRIMARY KEY (organization, person, from_at)
);
CREATE TABLE grid.people_reads (
    at           timestamptz NOT NULL,
    organization text NOT NULL,
    person       text NOT NULL,
    role         text NOT NULL,
    subject      text NOT NULL,
    case_id      uuid
);
CREATE INDEX people_reads_subject ON grid.people_reads (subject, at);
CREATE TRIGGER people_reads_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON grid.people_reads
    FOR EACH STATEMENT EXECUTE FUNCTION grid.append_only();
