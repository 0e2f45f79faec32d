-- +goose Up
-- How a closing of a case was rated (好差评), once; closing counts how often the case had been reopened before it.
CREATE TABLE grid.ratings (
    case_id     uuid NOT NULL REFERENCES grid.cases ON DELETE CASCADE,
    closing     int NOT NULL,
    at          timestamptz NOT NULL,
    score       smallint NOT NULL CHECK (score BETWEEN 1 AND 5),
    -- That the case was reopened for it, and that whoever reported the case rated it, by the receipt.
    reworked    boolean NOT NULL,
    by_reporter boolean NOT NULL,
    PRIMARY KEY (case_id, closing)
);
