-- +goose Up
CREATE TABLE grid.invalid_messages (
    fleet    text PRIMARY KEY,
    messages bigint NOT NULL
);

-- +goose Down
DROP TABLE grid.invalid_messages;
