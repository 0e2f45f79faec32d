-- SYNTHETIC rows for Dataset elder-visits: no person, number or date here belongs to anybody. Telephone numbers begin with
-- 120, which no mobile number in China does. Run it as the owner of the database; running it again changes nothing.
--   kubectl -n henan exec -i statefulset/dizuo-postgres -- psql -v ON_ERROR_STOP=1 -U dizuo -d dizuo < seed/elder_visits.sql
BEGIN;
CREATE SCHEMA IF NOT EXISTS datasets;
CREATE TABLE IF NOT EXISTS datasets.elder_visits (
    id            bigint PRIMARY KEY,
    -- 12-digit statistical code of the community: the row scope.
    division      text NOT NULL CHECK (division ~ '^[1-9][0-9]{11}$'),
    -- Random platform id of the person.
    subject       text NOT NULL,
    name          text NOT NULL,
    phone         text,
    birth_date    date,
    lives_alone   boolean NOT NULL DEFAULT true,
    care_level    text CHECK (care_level IN ('Intact', 'Mild', 'Moderate', 'Severe')),
    last_visit_at timestamptz,
    visit_result  text CHECK (visit_result IN ('Met', 'NobodyHome', 'NeedsHelp'))
);
CREATE INDEX IF NOT EXISTS elder_visits_division ON datasets.elder_visits (division);
COMMENT ON TABLE datasets.elder_visits IS 'SYNTHETIC sample data / 合成数据';

INSERT INTO datasets.elder_visits
    (id, division, subject, name, phone, birth_date, lives_alone, care_level, last_visit_at, visit_result)
VALUES
    -- 郑州市二七区人和路街道荆胡社区
    (1, '410103014006', 'syn-s-0001', '合成老人甲', '12000000001', '1941-03-08', true,  'Mild',     '2026-03-02 09:30+08', 'Met'),
    (2, '410103014006', 'syn-s-0002', '合成老人乙', '12000000002', '1938-11-21', true,  'Moderate', '2026-03-02 10:10+08', 'NobodyHome'),
    (3, '410103014006', 'syn-s-0003', '合成老人丙', '12000000003', '1950-06-30', true,  'Intact',   '2026-03-03 15:00+08', 'Met'),
    (4, '410103014006', 'syn-s-0004', '合成老人丁', NULL,          '1945-01-17', false, 'Severe',   '2026-03-04 08:45+08', 'NeedsHelp'),
    -- 洛阳市西工区西工街道市委院社区
    (5, '410303003003', 'syn-s-0005', '合成老人戊', '12000000005', '1947-09-12', true,  'Intact',   '2026-03-02 14:20+08', 'Met'),
    (6, '410303003003', 'syn-s-0006', '合成老人己', '12000000006', '1936-12-01', true,  'Severe',   '2026-03-05 11:00+08', 'NeedsHelp'),
    -- 信阳市光山县紫水街道徐店社区
    (7, '411522002005', 'syn-s-0007', '合成老人庚', '12000000007', '1952-04-25', true,  'Mild',     '2026-03-01 16:30+08', 'Met'),
    (8, '411522002005', 'syn-s-0008', '合成老人辛', '12000000008', '1943-08-19', true,  'Moderate', '2026-03-06 09:05+08', 'NobodyHome'),
    -- 安阳高新区银杏大街街道华强城社区
    (9, '410571564011', 'syn-s-0009', '合成老人壬', '12000000009', '1949-02-14', true,  'Intact',   '2026-03-03 10:40+08', 'Met')
ON CONFLICT (id) DO NOTHING;

-- The gateway reads, and nobody else but the owner. The role is made by the platform's migrations.
DO $$
BEGIN
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'dizuo_gateway') THEN
        GRANT USAGE ON SCHEMA datasets TO dizuo_gateway;
        GRANT SELECT ON datasets.elder_visits TO dizuo_gateway;
    END IF;
END
$$;
COMMIT;
