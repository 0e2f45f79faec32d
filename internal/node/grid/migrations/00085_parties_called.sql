-- +goose Up
-- Who was called before parties were written down: organisations by the messages to them, posts by the history.
INSERT INTO grid.case_parties (id, case_id, kind, organization, called_at)
    SELECT gen_random_uuid(), case_id, 'Responder', organization, min(created_at) FROM grid.dispatch_outbox WHERE case_id IS NOT NULL GROUP BY case_id, organization;
INSERT INTO grid.case_parties (id, case_id, kind, organization, called_at)
    SELECT gen_random_uuid(), h.case_id, 'Responder', o.name, min(h.at) FROM grid.case_history h,
        jsonb_array_elements_text(CASE WHEN jsonb_typeof(h.detail->'organizations') = 'array' THEN h.detail->'organizations' ELSE '[]' END) o (name)
    WHERE h.action = 'Dispatch' GROUP BY h.case_id, o.name ON CONFLICT DO NOTHING;
INSERT INTO grid.case_parties (id, case_id, kind, post, called_at)
    SELECT gen_random_uuid(), h.case_id, 'Responder', p.name, min(h.at) FROM grid.case_history h,
        jsonb_array_elements_text(CASE WHEN jsonb_typeof(h.detail->'posts') = 'array' THEN h.detail->'posts' ELSE '[]' END) p (name)
    WHERE h.action = 'Dispatch' GROUP BY h.case_id, p.name ON CONFLICT DO NOTHING;
