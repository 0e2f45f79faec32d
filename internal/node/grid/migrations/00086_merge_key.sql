-- +goose Up
-- Which alarm is in which case, of before that was written down. An alarm that opened a case and later another is in the later one.
INSERT INTO grid.case_alarms (case_id, scenario, scope, scope_id, start, began, severity, cleared_at)
    SELECT id, scenario, 'Device', fleet || '/' || device, started_at, started_at, severity, cleared_at
    FROM grid.cases WHERE source = 'Device' ORDER BY id DESC ON CONFLICT DO NOTHING;
INSERT INTO grid.case_alarms (case_id, scenario, scope, scope_id, start, began, severity, cleared_at)
    SELECT c.id, c.scenario, 'Device', c.fleet || '/' || c.device, x.start, x.start, c.severity, c.cleared_at
    FROM grid.cases c JOIN grid.case_history h ON h.case_id = c.id, LATERAL (SELECT (h.detail->>'start')::timestamptz) x (start)
    WHERE c.source = 'Device' AND h.action = 'AlarmMerged' AND x.start IS NOT NULL ORDER BY c.id DESC ON CONFLICT DO NOTHING;
-- Scenarios of one class share a case from now on. Of open ones that would, the oldest takes what comes; the others end as they are.
UPDATE grid.cases c SET scope = 'Device', scope_id = c.fleet || '/' || c.device,
    merge_key = CASE WHEN c.open AND EXISTS (SELECT FROM grid.cases o WHERE o.open AND o.source = 'Device' AND o.class = c.class AND o.fleet = c.fleet AND o.device = c.device AND o.id < c.id)
        THEN '' ELSE c.class || '|Device|' || c.fleet || '/' || c.device END
    WHERE c.source = 'Device';
DROP INDEX grid.cases_open_device;
