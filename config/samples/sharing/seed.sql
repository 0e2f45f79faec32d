-- Synthetic rows behind the sharing list, for a try and for the tests: it is run as the owner of the platform's database after `migrate`.
-- pingan is 410199001001, kangle 410199001002 of the same street; 410299001001 is another city. NULL is nowhere.
CREATE TABLE datasets.video_elements (id int PRIMARY KEY, division text, "eventAt" timestamptz, place text, plate text, person text, clip text, subject text);
INSERT INTO datasets.video_elements VALUES
    (1, '410199001001', '2026-12-01T00:00:00Z', 'gate 1', 'SYN-A001', 'red coat', 'clip-1', 's-1'),
    (2, '410199001002', '2026-12-02T00:00:00Z', 'gate 2', 'SYN-A002', 'blue coat', 'clip-2', 's-2'),
    (3, '410299001001', '2026-12-03T00:00:00Z', 'elsewhere', 'SYN-A003', 'green coat', 'clip-3', 's-3'),
    (4, NULL, '2026-12-04T00:00:00Z', 'nowhere', 'SYN-A004', 'no coat', 'clip-4', 's-4');
CREATE TABLE datasets.face_elements (id int PRIMARY KEY, division text, "eventAt" timestamptz, template text, subject text);
INSERT INTO datasets.face_elements VALUES (1, '410199001001', '2026-12-01T00:00:00Z', 'SYN-TEMPLATE-1', 's-1'), (2, '410299001001', '2026-12-01T00:00:00Z', 'SYN-TEMPLATE-2', 's-2');

CREATE TABLE datasets.tenants (id int PRIMARY KEY, division text, compound text, unit text, name text, phone text, "movedInAt" date, "idNumber" text, subject text);
INSERT INTO datasets.tenants VALUES
    (1, '410199001001', 'east', '1-101', '租户一', '13000000011', '2026-03-01', 'SYN-ID-1', 's-11'),
    (2, '410199001001', 'west', '2-202', '租户二', '123', '2026-04-01', 'SYN-ID-2', 's-12'), -- shorter than what is kept: nothing is
    (3, '410299001001', 'east', '3-303', '租户三', '13000000013', '2026-05-01', 'SYN-ID-3', 's-13');
CREATE TABLE datasets.visitor_passes (id int PRIMARY KEY, division text, compound text, "validUntil" timestamptz, plate text, "hostUnit" text, subject text);
INSERT INTO datasets.visitor_passes VALUES
    (1, '410199001001', 'east', '2027-01-05T00:00:00Z', 'SYN-B001', '1-101', 's-21'),
    (2, '410199001001', 'west', '2027-01-05T00:00:00Z', 'SYN-B002', '2-202', 's-21'), -- not its compound
    (3, '410199001002', 'east', '2027-01-05T00:00:00Z', 'SYN-B003', '3-303', 's-21'), -- a compound of the same name next door
    (4, '410199001001', 'east', '2027-01-05T00:00:00Z', 'SYN-B004', '1-104', 's-22'), -- no consent
    (5, '410199001001', 'east', '2027-01-05T00:00:00Z', 'SYN-B005', '1-105', 's-23'), -- withdrawn
    (6, '410199001001', 'east', '2027-01-05T00:00:00Z', 'SYN-B006', '1-106', 's-24'), -- a minor, by the guardian's consent
    (7, '410199001001', 'east', '2027-01-05T00:00:00Z', 'SYN-B007', '1-107', 's-25'), -- a minor without
    (8, '410199001001', 'east', '2027-01-05T00:00:00Z', 'SYN-B008', '1-108', 's-26'), -- for another purpose
    (9, '410199001001', 'east', '2027-01-05T00:00:00Z', 'SYN-B009', '1-109', 's-27'); -- over

CREATE TABLE datasets.property_service (id int PRIMARY KEY, division text, compound text, month date, kind text, amount numeric, owner text, subject text);
INSERT INTO datasets.property_service -- 20 owners in east pay a fee; 4 in west complain, who are too few; 30 are next city's
    SELECT i, '410199001001', 'east', date '2026-10-01', 'Fee', 100, '业主' || i, 'o-' || i FROM generate_series(1, 20) i
    UNION ALL SELECT 100 + i, '410199001001', 'west', date '2026-10-01', 'Complaint', 1, '业主' || 100 + i, 'o-' || 100 + i FROM generate_series(1, 4) i
    UNION ALL SELECT 200 + i, '410299001001', 'east', date '2026-10-01', 'Fee', 100, '业主' || 200 + i, 'o-' || 200 + i FROM generate_series(1, 30) i;
CREATE TABLE datasets.property_access_log (id int PRIMARY KEY, division text, compound text, "accessedAt" timestamptz, purpose text, records int);
INSERT INTO datasets.property_access_log VALUES (1, '410199001001', 'east', '2026-12-01T00:00:00Z', 'CoManagement', 3), (2, '410299001001', 'east', '2026-12-01T00:00:00Z', 'CoManagement', 9);

CREATE TABLE datasets.home_use_flags (id int PRIMARY KEY, division text, grid text, household text, "noUse" boolean, "hoursSinceUse" int, "loadCurve" text, "soleElder" boolean, subject text);
INSERT INTO datasets.home_use_flags VALUES
    (1, '410199001001', 'grid-1', 'H-1', true, 30, 'SYN-CURVE-1', true, 's-41'),
    (2, '410199001001', 'grid-2', 'H-2', true, 31, 'SYN-CURVE-2', true, 's-41'), -- not the worker's grid
    (3, '410199001001', 'grid-1', 'H-3', true, 32, 'SYN-CURVE-3', false, 's-41'), -- does not live alone
    (4, '410199001001', 'grid-1', 'H-4', true, 33, 'SYN-CURVE-4', true, 's-42'), -- no consent
    (5, '410199001001', 'grid-1', 'H-5', true, 34, 'SYN-CURVE-5', true, 's-43'), -- withdrawn
    (6, '410199001002', 'grid-1', 'H-6', true, 35, 'SYN-CURVE-6', true, 's-41'), -- a grid of the same name next door
    (7, '410199001001', 'grid-1', 'H-7', false, 1, 'SYN-CURVE-7', true, 's-44');

CREATE TABLE datasets.elder_health (id int PRIMARY KEY, division text, name text, phone text, "careLevel" text, "chronicDiseases" text, "nextVisitAt" date, medication text, subject text);
INSERT INTO datasets.elder_health VALUES
    (1, '410199001001', '老人一', '13000000051', '2', 'SYN-ILL-1', '2027-01-08', 'SYN-MED-1', 's-51'),
    (2, '410199001001', '老人二', '13000000052', '3', 'SYN-ILL-2', '2027-01-09', 'SYN-MED-2', 's-52'), -- no authorisation
    (3, '410199001002', '老人三', '13000000053', '1', 'SYN-ILL-3', '2027-01-10', 'SYN-MED-3', 's-53'), -- withdrawn
    (4, '410299001001', '老人四', '13000000054', '1', 'SYN-ILL-4', '2027-01-11', 'SYN-MED-4', 's-51');
CREATE TABLE datasets.elder_care_services (id int PRIMARY KEY, division text, service text, "startsAt" date, phone text, subject text);
INSERT INTO datasets.elder_care_services VALUES (1, '410199001001', 'meals', '2026-11-17', '13000000051', 's-51'), (2, '410199001001', 'bath', '2026-11-18', '13000000052', 's-52');

CREATE TABLE datasets.difficult_elders (id int PRIMARY KEY, division text, grid text, name text, address text, phone text, situation text, "updatedAt" timestamptz, subject text);
INSERT INTO datasets.difficult_elders VALUES
    (1, '410199001001', 'grid-1', '长者一', '东区一号', '13000000061', 'LivesAlone', '2026-12-30T00:00:00Z', 's-61'),
    (2, '410199001001', 'grid-2', '长者二', '西区二号', '13000000062', 'Disabled', '2026-12-30T00:00:00Z', 's-62'),
    (3, '410199001002', 'grid-1', '长者三', '康乐三号', '13000000063', 'Relief', '2026-12-30T00:00:00Z', 's-63'),
    (4, '410199001001', NULL, '长者四', '无网格', '13000000064', 'Relief', '2026-12-30T00:00:00Z', 's-64');

CREATE TABLE datasets.risk_persons (id int PRIMARY KEY, division text, name text, address text, "riskLevel" text, diagnosis text, "assessedAt" date, subject text);
INSERT INTO datasets.risk_persons VALUES
    (1, '410199001001', '某甲', '甲址', 'R3', 'SYN-DIAGNOSIS-1', '2026-11-01', 's-71'),
    (2, '410199001001', '某乙', '乙址', 'R2', 'SYN-DIAGNOSIS-2', '2026-11-01', 's-72'), -- too low
    (3, '410299001001', '某丙', '丙址', 'R5', 'SYN-DIAGNOSIS-3', '2026-11-01', 's-73');
CREATE TABLE datasets.care_tasks (id int PRIMARY KEY, division text, address text, task text, "dueAt" date, subject text);
INSERT INTO datasets.care_tasks VALUES (1, '410199001001', '甲址', 'Visit', '2027-01-06', 's-71'), (2, '410299001001', '丙址', 'Call', '2027-01-06', 's-73');

CREATE TABLE datasets.household_contacts (id int PRIMARY KEY, division text, address text, phone text, subject text);
INSERT INTO datasets.household_contacts VALUES (1, '410199001001', '东区一号', '13000000081', 's-81'), (2, '410299001001', '外市一号', '13000000082', 's-82');
INSERT INTO grid.cases (id, number, community, grid, class, severity, title, state, source, started_at, last_signal_at, opened_at, updated_at, closed_at)
    SELECT gen_random_uuid(), number, community, 'grid-1', class, severity, 'synthetic', state, 'System', at, at, at, at, CASE WHEN state = 'Closed' THEN at + interval '1 hour' END
    FROM (VALUES
        ('20270104-000001', 'pingan', 'fire-alarm', 'High', 'Filed', '2027-01-04T01:00:00Z'::timestamptz),
        ('20270104-000002', 'pingan', 'gas-leak', 'Critical', 'Filed', '2027-01-04T01:10:00Z'),
        ('20270103-000003', 'pingan', 'fire-alarm', 'Critical', 'Closed', '2027-01-03T01:00:00Z'),
        ('20270104-000004', 'pingan', 'welfare-check', 'High', 'Filed', '2027-01-04T01:20:00Z'),
        ('20270104-000005', 'kangle', 'lift-fault', 'High', 'Filed', '2027-01-04T01:30:00Z'),
        ('20270104-000006', 'elsewhere', 'lift-fault', 'High', 'Filed', '2027-01-04T01:40:00Z')) AS c (number, community, class, severity, state, at);

CREATE TABLE datasets.parking_events (id int PRIMARY KEY, division text, "eventAt" timestamptz, place text, plate text, person text, subject text);
INSERT INTO datasets.parking_events VALUES (1, '410199001001', '2026-12-01T00:00:00Z', 'fire lane', 'SYN-P001', 'driver', 's-91'), (2, '410299001001', '2026-12-01T00:00:00Z', 'fire lane', 'SYN-P002', 'driver', 's-92');
CREATE TABLE datasets.addresses (id int PRIMARY KEY, division text, address text, "placeName" text, parcel text);
INSERT INTO datasets.addresses VALUES (1, '410199001001', '东区一号', '平安里', 'P-1'), (2, '410299001001', '外市一号', '外市里', 'P-2');

CREATE TABLE datasets.one_form (id int PRIMARY KEY, division text, indicator text, month date, value numeric, household text);
INSERT INTO datasets.one_form -- 25 homes of two communities report; 3 are too few
    SELECT i, CASE WHEN i <= 15 THEN '410199001001' ELSE '410199001002' END, 'households', '2026-12-01'::date + i % 28, 1, 'H-' || i FROM generate_series(1, 25) i
    UNION ALL SELECT 100 + i, '410199001001', 'disabled', '2026-12-05', 1, 'H-' || i FROM generate_series(1, 3) i
    UNION ALL SELECT 200 + i, '410299001001', 'households', '2026-12-05', 1, 'X-' || i FROM generate_series(1, 40) i;

CREATE TABLE datasets.social_organisations (id int PRIMARY KEY, division text, "creditCode" text, name text, representative text, penalties text, "registeredAt" date, subject text);
INSERT INTO datasets.social_organisations VALUES (1, '410199001001', 'SYN-CODE-1', '社团一', '法人一', 'none', '2020-01-01', 's-101'), (2, '410199001002', 'SYN-CODE-2', '社团二', '法人二', 'warned', '2021-01-01', 's-102'), (3, '420199001001', 'SYN-CODE-4', '社团四', '法人四', 'none', '2021-01-01', 's-104');
CREATE TABLE datasets.pooled_civil_affairs (id int PRIMARY KEY, division text, "creditCode" text, name text, representative text, "checkedAt" date, subject text);
INSERT INTO datasets.pooled_civil_affairs VALUES (1, '410199001001', 'SYN-CODE-1', '社团一', '法人一', '2026-12-01', 's-101'), (2, '410299001001', 'SYN-CODE-3', '社团三', '法人三', '2026-12-01', 's-103');

-- Who is on duty where. worker-3 is kangle's.
INSERT INTO grid.roster VALUES
    ('committee', 'worker-1', 'GridWorker', 'pingan', 'grid-1'), ('committee', 'worker-2', 'GridWorker', 'pingan', 'grid-2'),
    ('committee', 'worker-3', 'GridWorker', 'kangle', 'grid-1'), ('committee', 'worker-4', 'CommunityWorker', 'pingan', ''),
    ('town', 'worker-1', 'GridWorker', 'pingan', 'grid-1'), ('power', 'worker-5', 'GridWorker', 'pingan', '');

-- Who consented to what. Children consent by a guardian.
INSERT INTO grid.consents (subject, scope, purposes, given_at, withdrawn_at, expires_at, guardian)
    SELECT subject, scope, purposes, now() - interval '9 days', now() - withdrawn::interval, now() - over::interval, guardian FROM (VALUES
        ('s-21', 'agreement.a02-visitors', ARRAY['CoManagement'], NULL, NULL, ''),
        ('s-22', 'another-scope', ARRAY['CoManagement'], NULL, NULL, ''),
        ('s-23', 'agreement.a02-visitors', ARRAY['CoManagement'], '1 hour', NULL, ''),
        ('s-24', 'agreement.a02-visitors', ARRAY['CoManagement'], NULL, NULL, 's-21'),
        ('s-26', 'agreement.a02-visitors', ARRAY['PublicService'], NULL, NULL, ''),
        ('s-27', 'agreement.a02-visitors', ARRAY['CoManagement'], NULL, '1 hour', ''),
        ('s-41', 'sole-elder-safety', ARRAY['SafetyAlert'], NULL, NULL, ''),
        ('s-43', 'sole-elder-safety', ARRAY['SafetyAlert'], '1 hour', NULL, ''),
        ('s-44', 'sole-elder-safety', ARRAY['SafetyAlert'], NULL, NULL, ''),
        ('s-51', 'combined-care', ARRAY['ElderCare', 'HealthCare'], NULL, NULL, ''),
        ('s-53', 'combined-care', ARRAY['ElderCare', 'HealthCare'], '1 hour', NULL, '')) AS c (subject, scope, purposes, withdrawn, over, guardian);
-- Where the legal basis is a consent, the agreement itself is asked for beside its dataset. On a cluster the scope ends in the agreement's UID.
INSERT INTO grid.consents (subject, scope, purposes, given_at, withdrawn_at, expires_at, guardian)
    SELECT subject, agreement, purposes, given_at, withdrawn_at, expires_at, guardian FROM grid.consents JOIN (VALUES
        ('sole-elder-safety', 'agreement.a04-use'), ('combined-care', 'agreement.a05-health'), ('combined-care', 'agreement.a05-services')) AS a (scope, agreement) USING (scope);
