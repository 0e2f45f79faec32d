-- +goose Up
-- One person may stand on several posts, and in several micro-grids of a grid.
ALTER TABLE grid.roster DROP CONSTRAINT roster_pkey, ADD PRIMARY KEY (organization, person, role, community, grid, micro_grid, post);
CREATE INDEX shifts_of_organization ON grid.shifts (organization, community);
CREATE INDEX substitutes_to ON grid.substitutes (organization, to_at);
-- Who is assigned to a case sees it.
CREATE INDEX cases_assignee ON grid.cases (assignee_organization, assignee_person) WHERE assignee_person <> '';
