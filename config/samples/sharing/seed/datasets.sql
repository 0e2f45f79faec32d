-- SYNTHETIC rows for the datasets of the twelve agreements: no person, number or date here belongs to anybody. Telephone numbers begin with
-- 120, which no mobile number in China does. Run it as the owner of the database; running it again changes nothing.
--   kubectl -n sharing exec -i statefulset/dizuo-postgres -- psql -q -v ON_ERROR_STOP=1 -U dizuo -d dizuo < seed/datasets.sql
-- 410199001001 is the community 平安; 410199001099 is one that no Community of the platform stands for, so its rows reach nobody.
BEGIN;
CREATE SCHEMA IF NOT EXISTS datasets;

CREATE TABLE IF NOT EXISTS datasets.video_elements (id bigint PRIMARY KEY, division text NOT NULL, subject text NOT NULL, "eventAt" timestamptz, place text, plate text, person text, clip text);
INSERT INTO datasets.video_elements VALUES
    (1, '410199001001', 'syn-v-1', '2026-11-01 21:04+08', '东门', '豫A00001', '合成甲', 'clip-1'),
    (2, '410199001099', 'syn-v-2', '2026-11-01 21:05+08', '西门', '豫A00002', '合成乙', 'clip-2')
ON CONFLICT (id) DO NOTHING;

CREATE TABLE IF NOT EXISTS datasets.face_elements (id bigint PRIMARY KEY, division text NOT NULL, subject text NOT NULL, "eventAt" timestamptz, template text);
INSERT INTO datasets.face_elements VALUES (1, '410199001001', 'syn-f-1', '2026-11-01 21:04+08', 'SYNTHETIC-TEMPLATE') ON CONFLICT (id) DO NOTHING;

CREATE TABLE IF NOT EXISTS datasets.tenants (id bigint PRIMARY KEY, division text NOT NULL, compound text, subject text NOT NULL, unit text, name text, phone text, "movedInAt" date, "idNumber" text);
INSERT INTO datasets.tenants VALUES
    (1, '410199001001', 'east', 'syn-t-1', '1-101', '合成租户甲', '12000000001', '2026-03-01', 'SYNTHETIC'),
    (2, '410199001001', 'west', 'syn-t-2', '2-202', '合成租户乙', '12000000002', '2026-04-01', 'SYNTHETIC')
ON CONFLICT (id) DO NOTHING;

-- The property company is of compound east alone.
CREATE TABLE IF NOT EXISTS datasets.visitor_passes (id bigint PRIMARY KEY, division text NOT NULL, compound text, subject text NOT NULL, "validUntil" timestamptz, plate text, "hostUnit" text);
INSERT INTO datasets.visitor_passes VALUES
    (1, '410199001001', 'east', 'syn-p-1', '2030-01-01 00:00+08', '豫A00003', '1-101'),
    (2, '410199001001', 'east', 'syn-p-2', '2030-01-01 00:00+08', '豫A00004', '1-102'),
    (3, '410199001001', 'west', 'syn-p-3', '2030-01-01 00:00+08', '豫A00005', '2-202')
ON CONFLICT (id) DO NOTHING;

CREATE TABLE IF NOT EXISTS datasets.property_service (id bigint PRIMARY KEY, division text NOT NULL, compound text, subject text NOT NULL, month date, kind text, amount numeric, owner text);
INSERT INTO datasets.property_service
    SELECT n, '410199001001', 'east', 'syn-o-' || n, '2026-10-01', CASE WHEN n <= 37 THEN 'Fee' ELSE 'Complaint' END, 100 + n, '合成业主' || n FROM generate_series(1, 40) AS n
ON CONFLICT (id) DO NOTHING;

CREATE TABLE IF NOT EXISTS datasets.property_access_log (id bigint PRIMARY KEY, division text NOT NULL, compound text, "accessedAt" timestamptz, purpose text, records int);
INSERT INTO datasets.property_access_log VALUES (1, '410199001001', 'east', '2026-11-02 09:00+08', 'CoManagement', 3) ON CONFLICT (id) DO NOTHING;

CREATE TABLE IF NOT EXISTS datasets.home_use_flags (id bigint PRIMARY KEY, division text NOT NULL, grid text, subject text NOT NULL, household text, "noUse" boolean, "hoursSinceUse" int, "loadCurve" text, "soleElder" boolean);
INSERT INTO datasets.home_use_flags VALUES
    (1, '410199001001', 'grid-1', 'syn-h-1', 'household-1', true, 31, 'SYNTHETIC', true),
    (2, '410199001001', 'grid-1', 'syn-h-2', 'household-2', false, 1, 'SYNTHETIC', false),
    (3, '410199001001', 'grid-2', 'syn-h-3', 'household-3', true, 40, 'SYNTHETIC', true)
ON CONFLICT (id) DO NOTHING;

CREATE TABLE IF NOT EXISTS datasets.elder_health (id bigint PRIMARY KEY, division text NOT NULL, subject text NOT NULL, name text, phone text, "careLevel" text, "chronicDiseases" text, "nextVisitAt" date, medication text);
INSERT INTO datasets.elder_health VALUES
    (1, '410199001001', 'syn-e-1', '合成老人甲', '12000000011', 'Mild', 'SYNTHETIC', '2026-12-03', 'SYNTHETIC'),
    (2, '410199001001', 'syn-e-2', '合成老人乙', '12000000012', 'Severe', 'SYNTHETIC', '2026-12-05', 'SYNTHETIC')
ON CONFLICT (id) DO NOTHING;

CREATE TABLE IF NOT EXISTS datasets.elder_care_services (id bigint PRIMARY KEY, division text NOT NULL, subject text NOT NULL, service text, "startsAt" date, phone text);
INSERT INTO datasets.elder_care_services VALUES (1, '410199001001', 'syn-e-1', 'Meals', '2026-05-17', '12000000011') ON CONFLICT (id) DO NOTHING;

CREATE TABLE IF NOT EXISTS datasets.difficult_elders (id bigint PRIMARY KEY, division text NOT NULL, grid text, subject text NOT NULL, name text, address text, phone text, situation text, "updatedAt" timestamptz);
INSERT INTO datasets.difficult_elders VALUES
    (1, '410199001001', 'grid-1', 'syn-d-1', '合成老人丙', '平安路1号', '12000000021', 'LivesAlone', now()),
    (2, '410199001001', 'grid-1', 'syn-d-2', '合成老人丁', '平安路2号', '12000000022', 'Relief', now()),
    (3, '410199001001', 'grid-2', 'syn-d-3', '合成老人戊', '平安路3号', '12000000023', 'Disabled', now())
ON CONFLICT (id) DO NOTHING;

CREATE TABLE IF NOT EXISTS datasets.risk_persons (id bigint PRIMARY KEY, division text NOT NULL, subject text NOT NULL, name text, address text, "riskLevel" text, diagnosis text, "assessedAt" date);
INSERT INTO datasets.risk_persons VALUES
    (1, '410199001001', 'syn-r-1', '合成患者甲', '平安路4号', 'R3', 'SYNTHETIC', '2026-10-01'),
    (2, '410199001001', 'syn-r-2', '合成患者乙', '平安路5号', 'R1', 'SYNTHETIC', '2026-10-01')
ON CONFLICT (id) DO NOTHING;

CREATE TABLE IF NOT EXISTS datasets.care_tasks (id bigint PRIMARY KEY, division text NOT NULL, subject text NOT NULL, address text, task text, "dueAt" date);
INSERT INTO datasets.care_tasks VALUES (1, '410199001001', 'syn-r-1', '平安路4号', 'Visit', '2026-12-10') ON CONFLICT (id) DO NOTHING;

CREATE TABLE IF NOT EXISTS datasets.household_contacts (id bigint PRIMARY KEY, division text NOT NULL, subject text NOT NULL, address text, phone text);
INSERT INTO datasets.household_contacts VALUES (1, '410199001001', 'syn-c-1', '平安路6号', '12000000031') ON CONFLICT (id) DO NOTHING;

CREATE TABLE IF NOT EXISTS datasets.parking_events (id bigint PRIMARY KEY, division text NOT NULL, subject text NOT NULL, "eventAt" timestamptz, place text, plate text, person text);
INSERT INTO datasets.parking_events VALUES (1, '410199001001', 'syn-k-1', '2026-11-03 08:00+08', '平安路口', '豫A00006', '合成丙') ON CONFLICT (id) DO NOTHING;

CREATE TABLE IF NOT EXISTS datasets.addresses (id bigint PRIMARY KEY, division text NOT NULL, address text, "placeName" text, parcel text);
INSERT INTO datasets.addresses VALUES (1, '410199001001', '平安路1号', '平安小区', 'SYN-0001'), (2, '410199001001', '平安路2号', '平安小区', 'SYN-0002') ON CONFLICT (id) DO NOTHING;

-- 37 households with a figure, and 3 of another, too few to be told.
CREATE TABLE IF NOT EXISTS datasets.one_form (id bigint PRIMARY KEY, division text NOT NULL, indicator text, month date, value numeric, household text);
INSERT INTO datasets.one_form
    SELECT n, '410199001001', CASE WHEN n <= 37 THEN 'elders' ELSE 'disabled' END, '2026-10-01', 1, 'household-' || n FROM generate_series(1, 40) AS n
ON CONFLICT (id) DO NOTHING;

CREATE TABLE IF NOT EXISTS datasets.social_organisations (id bigint PRIMARY KEY, division text NOT NULL, subject text NOT NULL, "creditCode" text, name text, representative text, penalties text, "registeredAt" date);
INSERT INTO datasets.social_organisations VALUES (1, '410199001001', 'syn-g-1', 'SYN00000000000001X', '合成社会组织', '合成丁', '无', '2020-05-01') ON CONFLICT (id) DO NOTHING;

CREATE TABLE IF NOT EXISTS datasets.pooled_civil_affairs (id bigint PRIMARY KEY, division text NOT NULL, subject text NOT NULL, "creditCode" text, name text, representative text, "checkedAt" date);
INSERT INTO datasets.pooled_civil_affairs VALUES (1, '410199001001', 'syn-g-1', 'SYN00000000000001X', '合成社会组织', '合成丁', '2026-09-01') ON CONFLICT (id) DO NOTHING;

-- The gateway reads, and nobody else but the owner. The role is made by the platform's migrations.
DO $$
BEGIN
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'dizuo_gateway') THEN
        GRANT USAGE ON SCHEMA datasets TO dizuo_gateway;
        GRANT SELECT ON ALL TABLES IN SCHEMA datasets TO dizuo_gateway;
    END IF;
END
$$;
COMMIT;
