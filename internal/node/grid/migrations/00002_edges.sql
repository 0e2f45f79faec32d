-- +goose Up
-- How far the outbox of an edge node is worked off. One that was lost begins anew under another incarnation and counts in its own
-- sequences; the former ones may not come back, so they are kept, too.
CREATE TABLE grid.edge_position (
    edge        text PRIMARY KEY,
    incarnation text NOT NULL,
    former      text[] NOT NULL DEFAULT '{}',
    sequence    bigint NOT NULL,
    -- Up to this time everything that the node's devices sent is worked off.
    drained_to  timestamptz,
    -- Sequences that the node declared lost, over all incarnations.
    lost        bigint NOT NULL DEFAULT 0,
    updated_at  timestamptz NOT NULL
);
