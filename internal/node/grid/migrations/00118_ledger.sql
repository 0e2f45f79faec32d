-- +goose Up
-- Entries of ledgers (积分台账): a message of a device makes one, once. subject is a pseudonym; that it was there at a time says something of a person.
CREATE TABLE grid.ledger (
    name       text NOT NULL,
    -- The scenario, the device and the message.
    alarm      text NOT NULL,
    scenario   text NOT NULL,
    subject    text NOT NULL,
    amount     numeric NOT NULL CHECK (amount > 0),
    at         timestamptz NOT NULL,
    -- The local day, by which what a subject gets is bounded.
    day        date NOT NULL,
    community  text NOT NULL,
    data_class text NOT NULL,
    PRIMARY KEY (name, alarm)
);
CREATE INDEX ledger_account ON grid.ledger (name, subject, day);
CREATE INDEX ledger_over ON grid.ledger (data_class, at);
CREATE INDEX ledger_of ON grid.ledger (name, community, at);
