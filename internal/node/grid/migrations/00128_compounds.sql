-- +goose Up
-- Cases and devices say in which compound they are: a property company is called to its own, and sees those alone. The service writes the column of
-- devices again from the registry; a case of before keeps none, and its grid's compounds stand for it.
ALTER TABLE grid.devices ADD COLUMN compound text NOT NULL DEFAULT '';
-- When the two sides of an exchange were last tried to be compared; reconciled_at is when they were.
ALTER TABLE grid.exchange ADD COLUMN compare_tried_at timestamptz;
