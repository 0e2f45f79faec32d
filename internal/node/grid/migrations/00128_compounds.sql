-- +goose Up
-- Cases and devices say in which compound they are: a property company is called to its own, and sees those alone. The service writes the column of
-- devices again from the registry; a case of before keeps none, and its grid's compounds stand for it.
ALTER TABLE grid.devices ADD COLUMN compound text NOT NULL DEFAULT '';
