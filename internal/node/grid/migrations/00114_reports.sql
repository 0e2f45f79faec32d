-- +goose Up
-- Statistics ask for the cases that were opened or closed within a time.
CREATE INDEX cases_opened ON grid.cases (opened_at);
CREATE INDEX cases_closed ON grid.cases (closed_at) WHERE closed_at IS NOT NULL;
