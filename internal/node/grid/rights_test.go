package grid

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/pressly/goose/v3"

	"github.com/dizuo/dizuo/internal/contract"
	"github.com/dizuo/dizuo/test/postgres"
)

// rights is what each user may do, and nothing else: a line is a relation or a function, and its verbs; "update(x)" is of a column.
var rights = map[string]string{
	contract.DatabaseUserGrid: `
		grid.alarms_waiting delete insert select update
		grid.attachment_parts delete insert select
		grid.attachments insert select update(erase_after) update(erased_at) update(erased_by)
		grid.case_alarms insert select update
		grid.case_history insert select
		grid.case_notes delete insert select
		grid.case_number usage
		grid.case_parties insert select update
		grid.cases delete insert select update
		grid.changes delete insert select update(n)
		grid.command_answers delete insert select
		grid.command_history insert select
		grid.commands delete insert select update
		grid.desired insert select update
		grid.desired_history insert select
		grid.devices delete insert select update
		grid.devices_seen insert select update
		grid.dispatch_outbox delete insert select update
		grid.edge_position insert select update
		grid.engine_keys delete insert select update
		grid.engine_state delete insert select update
		grid.exchange insert select update
		grid.facts delete insert select
		grid.feed_position insert select update
		grid.idempotency delete insert select
		grid.ingest_position insert select update
		grid.invalid_messages insert select update
		grid.ledger delete insert select
		grid.mirrors insert select update
		grid.modes insert select update(ended_at) update(reason)
		grid.people delete insert select update
		grid.people_reads insert select
		grid.ratings insert select
		grid.receipts insert select update(at) update(digest)
		grid.report_contacts delete insert select
		grid.roster delete insert select
		grid.shifts delete insert select update
		grid.signals_kept insert select update
		grid.substitutes delete insert select update
		grid.telemetry_hourly delete insert select update
		grid.timers delete insert select update`,
	contract.DatabaseUserGateway: `
		datasets.households select
		grid.consents select(expires_at) select(given_at) select(purposes) select(scope) select(subject) select(withdrawn_at)
		platform.case_facts select
		platform.cases select
		platform.devices select
		platform.roster select
		platform.telemetry select`,
	contract.DatabaseUserAudit: `
		audit.break_glass insert select update(alerted_at) update(note_reference) update(reviewed_at) update(reviewed_by) update(verdict)
		audit.checkpoints insert select update(receipts)
		audit.erase_bodies execute
		audit.leases insert select
		audit.line_subjects insert select
		audit.lines insert select
		audit.policy_objects insert select
		audit.public_keys insert select update(last_seen)
		audit.subject_lists insert select
		audit.use insert select update(records) update(requests)`,
	contract.DatabaseUserAuditor: `
		audit.checkpoints select
		audit.gateway_lines select
		audit.line_receipts select
		audit.policy_objects select
		audit.public_keys select
		audit.subject_lists select`,
	contract.DatabaseUserVault: `
		audit.due_of execute
		audit.erase_bodies execute
		audit.erase_due execute
		audit.forget_emergencies execute
		audit.reads_of execute
		audit.shipped execute
		audit.unname execute
		audit.vault_append execute
		audit.vault_end execute
		audit.vault_lines execute
		grid.consents insert select update(expires_at) update(withdrawal_evidence) update(withdrawn_at)
		grid.dispatch_outbox insert(created_at) insert(id) insert(next_attempt_at) insert(organization) insert(payload)
		grid.forget_consents execute
		vault.erase_rows execute
		vault.erasing delete insert select update(next_at)
		vault.identities delete insert select update
		vault.keys delete insert select
		vault.receipts insert select
		vault.relations delete insert select update(kind) update(until)
		vault.subjects insert select update(erased_at)
		vault.tasks delete insert select update(done_at) update(outcome) update(sealed)`,
}

// effective asks the database for every right that a user has on anything outside its own catalogue, however it came by it.
const effective = `
WITH relation AS (
	SELECT c.oid, c.relkind, n.nspname || '.' || c.relname AS name FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
	WHERE c.relkind IN ('r', 'v', 'm', 'p', 'S') AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
), whole AS (
	SELECT r.oid, r.name, lower(v) AS verb FROM relation r, unnest(ARRAY['SELECT', 'INSERT', 'UPDATE', 'DELETE', 'TRUNCATE', 'REFERENCES', 'TRIGGER']) v
	WHERE r.relkind <> 'S' AND has_table_privilege($1, r.oid, v)
)
SELECT name, verb FROM whole
UNION ALL SELECT r.name, lower(v) || '(' || a.attname || ')' FROM relation r JOIN pg_attribute a ON a.attrelid = r.oid AND a.attnum > 0 AND NOT a.attisdropped,
	unnest(ARRAY['SELECT', 'INSERT', 'UPDATE']) v
	WHERE r.relkind <> 'S' AND has_column_privilege($1, r.oid, a.attnum, v) AND NOT EXISTS (SELECT FROM whole w WHERE w.oid = r.oid AND w.verb = lower(v))
UNION ALL SELECT r.name, lower(v) FROM relation r, unnest(ARRAY['USAGE', 'SELECT', 'UPDATE']) v WHERE r.relkind = 'S' AND has_sequence_privilege($1, r.oid, v)
UNION ALL SELECT n.nspname || '.' || p.proname, 'execute' FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
	WHERE n.nspname !~ '^pg_' AND n.nspname <> 'information_schema' AND p.prorettype <> 'trigger'::regtype AND has_function_privilege($1, p.oid, 'EXECUTE')
UNION ALL SELECT n.nspname, 'create' FROM pg_namespace n WHERE n.nspname !~ '^pg_(toast|temp)' AND has_schema_privilege($1, n.oid, 'CREATE')`

// TestEveryUserHasItsRightsAndNoOther holds what the database says against the table above.
func TestEveryUserHasItsRightsAndNoOther(t *testing.T) {
	_, owner := database(t)
	exec1(t, owner, "CREATE TABLE datasets.households (id int)")
	for _, user := range contract.DatabaseUsers() {
		if diff := cmp.Diff(lines(rights[user]), rightsOf(t, owner, user)); diff != "" {
			t.Errorf("%s: -want +got:\n%s", user, diff)
		}
	}
}

func lines(text string) []string {
	var out []string
	for line := range strings.Lines(text) {
		if line = strings.TrimSpace(line); line != "" {
			out = append(out, line)
		}
	}
	return out
}

func rightsOf(t *testing.T, owner contract.DatabaseConfig, user string) []string {
	t.Helper()
	c, err := connConfig(owner)
	if err != nil {
		t.Fatal(err)
	}
	if err := refresh(owner)(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	conn, err := pgx.ConnectConfig(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close(context.Background()) }()
	rows, err := conn.Query(t.Context(), effective, user)
	if err != nil {
		t.Fatal(err)
	}
	verbs := map[string][]string{}
	var name, verb string
	if _, err := pgx.ForEachRow(rows, []any{&name, &verb}, func() error {
		verbs[name] = append(verbs[name], verb)
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	var out []string
	for name, list := range verbs {
		slices.Sort(list)
		out = append(out, name+" "+strings.Join(list, " "))
	}
	slices.Sort(out)
	return out
}

// TestDatabaseRights tries statements: what a right means where a trigger, a function or a foreign key has its say.
func TestDatabaseRights(t *testing.T) {
	cfg, owner := database(t)
	as := func(user string) contract.DatabaseConfig {
		c := cfg
		c.User = user
		return c
	}
	grid, gateway, audit, vault := cfg, as(contract.DatabaseUserGateway), as(contract.DatabaseUserAudit), as(contract.DatabaseUserVault)
	auditor := as(contract.DatabaseUserAuditor)
	const receipt, records = "00000000-0000-0000-0000-00000000000a", "00000000-0000-0000-0000-00000000000c"
	line := func(seq int, age string) string {
		return fmt.Sprintf(`INSERT INTO audit.lines (instance, seq, at, kind, request, header, body) VALUES ('g', %d, now() - interval '%s', 'release', 'r', '{}', 'x')`, seq, age)
	}
	exec1(t, owner, "CREATE TABLE datasets.households (id int)")
	exec1(t, owner, `INSERT INTO grid.cases (id, number, community, class, severity, title, state, source, started_at, last_signal_at, opened_at, updated_at)
		VALUES ('00000000-0000-0000-0000-000000000001', 'n', 'c', 'c', 'Low', 't', 'Filed', 'Resident', now(), now(), now(), now())`)
	exec1(t, grid, `INSERT INTO grid.case_history (case_id, n, at, action, from_state, to_state, actor) VALUES ('00000000-0000-0000-0000-000000000001', 1, now(), 'a', '', '', 'System')`)
	for _, c := range []struct {
		who       contract.DatabaseConfig
		statement string
		allowed   bool
	}{
		{gateway, "SELECT * FROM datasets.households", true}, {gateway, "SELECT * FROM platform.cases", true}, {gateway, "SELECT title FROM platform.cases", false},
		{gateway, "SELECT scope FROM grid.consents", true}, {gateway, "SELECT evidence FROM grid.consents", false},
		{gateway, "SELECT * FROM grid.cases", false}, {gateway, "INSERT INTO datasets.households VALUES (1)", false}, {gateway, "DELETE FROM grid.consents", false},
		{gateway, "CREATE TABLE datasets.x (id int)", false}, {gateway, "CREATE TABLE public.x (id int)", false}, {gateway, "SELECT * FROM audit.lines", false}, {gateway, "SELECT * FROM vault.subjects", false},
		{grid, "SELECT * FROM datasets.households", false}, {grid, "UPDATE grid.case_history SET action = 'b'", false}, {grid, "DELETE FROM grid.cases", false},
		{grid, "CREATE TABLE grid.x (id int)", false}, {grid, "SELECT * FROM grid.consents", false}, {grid, "SELECT * FROM audit.lines", false},
		{owner, "UPDATE grid.case_history SET action = 'b'", false}, {owner, "DELETE FROM grid.case_history", false}, {owner, "TRUNCATE grid.case_history", false},

		{grid, "INSERT INTO grid.people VALUES ('o', 'p', 'name', 'phone', now())", true}, {gateway, "SELECT * FROM grid.people", false}, {vault, "SELECT * FROM grid.people", false},
		{grid, "INSERT INTO grid.people_reads VALUES (now(), 'o', 'p', 'r', 's', NULL)", true}, {grid, "DELETE FROM grid.people_reads", false}, {owner, "DELETE FROM grid.people_reads", false},
		{grid, "INSERT INTO grid.report_contacts (case_id, at, phone) VALUES ('00000000-0000-0000-0000-000000000001', now(), '1')", true}, {gateway, "SELECT * FROM grid.report_contacts", false}, {vault, "SELECT * FROM grid.report_contacts", false},
		{grid, "INSERT INTO grid.ratings VALUES ('00000000-0000-0000-0000-000000000001', 0, now(), 2, true, true)", true}, {grid, "INSERT INTO grid.ratings VALUES ('00000000-0000-0000-0000-000000000001', 0, now(), 5, false, true)", false},
		{grid, "INSERT INTO grid.ratings VALUES ('00000000-0000-0000-0000-000000000001', 1, now(), 6, false, true)", false}, {grid, "UPDATE grid.ratings SET score = 5", false}, {gateway, "SELECT * FROM grid.receipts", false},
		{grid, "INSERT INTO grid.modes (mode, since, expires_at, reason, organization, person, role) VALUES ('m', now(), now() + interval '1 h', 'r', 'o', 'p', 'Commander')", true},
		{grid, "INSERT INTO grid.modes (mode, since, expires_at, reason, organization, person, role) VALUES ('n', now(), now() + interval '1 h', 'r', 'o', 'p', 'Commander')", false},
		{grid, "UPDATE grid.modes SET ended_at = now(), reason = ''", true}, {grid, "UPDATE grid.modes SET person = 'q'", false}, {grid, "DELETE FROM grid.modes", false},
		{grid, "INSERT INTO grid.case_parties (id, case_id, kind, organization, called_at) VALUES (gen_random_uuid(), '00000000-0000-0000-0000-000000000001', 'Responder', 'o', now())", true},
		{grid, "INSERT INTO grid.case_parties (id, case_id, kind, organization, called_at) VALUES (gen_random_uuid(), '00000000-0000-0000-0000-000000000001', 'Responder', 'o', now())", false},
		{grid, "DELETE FROM grid.case_parties", false}, {gateway, "SELECT * FROM grid.attachment_parts", false}, {gateway, "SELECT * FROM grid.facts", false},
		{grid, "INSERT INTO grid.timers (case_id, kind, left_ms, running_since, due) VALUES ('00000000-0000-0000-0000-000000000001', 'Resolve', 1, now(), NULL)", false},
		{grid, "INSERT INTO grid.changes (case_id, version, kind, community, at) VALUES ('00000000-0000-0000-0000-000000000001', 1, 'k', 'c', now())", true}, {grid, "UPDATE grid.changes SET kind = 'x'", false},

		{vault, `INSERT INTO vault.subjects VALUES ('s', now())`, true}, {vault, "INSERT INTO vault.keys VALUES ('s', 'k')", true}, {vault, "INSERT INTO vault.keys VALUES ('nobody', 'k')", false},
		{vault, "INSERT INTO grid.consents (subject, scope, given_at) VALUES ('s', 'care', now())", true}, {vault, "UPDATE grid.consents SET withdrawn_at = now()", true},
		{vault, "UPDATE grid.consents SET withdrawn_at = given_at - interval '1 day'", false}, {vault, "UPDATE grid.consents SET subject = 't'", false}, {vault, "DELETE FROM grid.consents", false},
		{vault, fmt.Sprintf("INSERT INTO vault.receipts VALUES ('%s', 'Erasure', 's', now(), 'office', 'p', 'jws')", receipt), true},
		{vault, "DELETE FROM vault.receipts", false}, {owner, "DELETE FROM vault.receipts", false}, {owner, "UPDATE vault.receipts SET subject = 't'", false},
		{vault, "DELETE FROM vault.keys", true}, {vault, "DELETE FROM vault.subjects", false}, {vault, "SELECT * FROM datasets.households", false},
		{vault, "INSERT INTO vault.erasing VALUES ('" + receipt + "', 's', '{s}', now(), now())", true}, {vault, "UPDATE vault.erasing SET names = '{t}'", false}, {vault, "UPDATE vault.erasing SET next_at = now()", true},

		{audit, line(1, "1 day"), true}, {audit, line(2, "200 days"), true}, {audit, line(1, "1 day"), false},
		{audit, "INSERT INTO audit.line_subjects VALUES ('s', 'g', 1), ('s', 'g', 2)", true}, {audit, "DELETE FROM audit.line_subjects", false},
		{audit, "UPDATE audit.lines SET body = NULL", false}, {audit, "DELETE FROM audit.lines", false}, {owner, "DELETE FROM audit.lines", false}, {owner, "TRUNCATE audit.lines", false},
		{owner, "UPDATE audit.lines SET body = 'y'", false}, {owner, "UPDATE audit.lines SET header = 'y'", false}, {owner, "UPDATE audit.lines SET body = NULL, erased_at = now(), seq = 9 WHERE seq = 1", false},
		{audit, "SELECT audit.erase_bodies(now())", false}, {audit, "SELECT audit.erase_bodies(NULL)", false}, {audit, "SELECT 1 / (audit.erase_bodies(now() - interval '190 days') = 1)::int", true},
		{audit, line(3, "181 days"), true}, {audit, line(4, "179 days"), true}, {audit, "INSERT INTO audit.line_subjects VALUES ('s', 'g', 3), ('s', 'g', 4)", true},
		{audit, "SELECT audit.erase_due('" + receipt + "', '{s}', 9)", false}, {audit, "SELECT audit.due_of('{s}', 9)", false}, {audit, "SELECT audit.unname('{s}')", false}, {auditor, "SELECT audit.due_of('{s}', 9)", false},
		{vault, "SELECT audit.erase_due('" + receipt + "', '{s}', 9)", false}, {vault, fmt.Sprintf("INSERT INTO vault.receipts VALUES ('%s', 'Records', 's', now(), 'office', 'p', 'jws')", records), true},
		{vault, "SELECT 1 / (audit.erase_due('" + records + "', '{s}', 9) = 1)::int", true}, {vault, "SELECT * FROM audit.lines", false}, {vault, "SELECT * FROM audit.line_subjects", false},
		{auditor, "SELECT 1 / (string_agg(id::text, ' ') = '" + records + "')::int FROM audit.line_receipts", true}, {auditor, "SELECT * FROM vault.receipts", false}, {auditor, "SELECT * FROM vault.erasing", false},
		{audit, "SELECT 1 / (string_agg(seq::text, ' ' ORDER BY seq) = '2 3')::int FROM audit.lines WHERE body IS NULL", true}, {audit, "SELECT 1 / (string_agg(seq::text, ' ' ORDER BY seq) = '1 4')::int FROM audit.line_subjects", true},
		{audit, "INSERT INTO vault.receipts VALUES ('00000000-0000-0000-0000-00000000000b', 'Erasure', 's', now(), 'office', 'p', 'jws')", false}, {audit, "SELECT * FROM vault.subjects", false},
		{audit, "INSERT INTO audit.use VALUES ('u', now(), 1, 1) ON CONFLICT (uid, step) DO UPDATE SET requests = audit.use.requests + 1", true},
		{audit, "INSERT INTO audit.checkpoints VALUES ('g', 1, 'jws')", true}, {audit, "UPDATE audit.checkpoints SET receipts = '{}'", true}, {audit, "UPDATE audit.checkpoints SET jws = 'other'", false},
		{audit, "INSERT INTO audit.break_glass (request, uid, reviewer, at, review_due) VALUES ('r', 'u', 'office', now(), now())", true},
		{audit, "UPDATE audit.break_glass SET verdict = 'Justified'", false}, {audit, "UPDATE audit.break_glass SET verdict = 'Justified', reviewed_at = now(), reviewed_by = 'p'", true}, {audit, "UPDATE audit.break_glass SET review_due = now()", false},
		{audit, "SELECT * FROM datasets.households", false}, {audit, "SELECT * FROM grid.consents", false},
	} {
		if err := try(t, c.who, c.statement); (err == nil) != c.allowed {
			t.Errorf("%s: %s: %v", c.who.User, c.statement, err)
		}
	}
	if err := Migrate(t.Context(), owner, postgres.Passwords(), quiet()); err != nil {
		t.Errorf("a second migration must be harmless: %v", err)
	}
}

// A body goes by its age. The list of its subjects goes with the last body that refers to it, and a list that none refers to yet stays.
func TestEraseBodiesWithTheirLists(t *testing.T) {
	cfg, owner := database(t)
	audit := cfg
	audit.User = contract.DatabaseUserAudit
	body := func(digest string) string {
		raw, err := json.Marshal(contract.LogBody{Reason: `"subjectList":{"digest":"fresh"`, SubjectList: &contract.SubjectList{Digest: digest, Count: 1001}})
		if err != nil {
			t.Fatal(err)
		}
		return string(raw)
	}
	exec1(t, audit, "INSERT INTO audit.subject_lists VALUES ('one', '{s}'), ('both', '{s}'), ('old', '{s}'), ('fresh', '{s}')")
	for n, line := range []struct{ age, list string }{{"1 day", "one"}, {"1 day", "both"}, {"200 days", "both"}, {"200 days", "old"}} {
		exec1(t, audit, fmt.Sprintf(`INSERT INTO audit.lines (instance, seq, at, kind, request, header, body) VALUES ('g', %d, now() - interval '%s', 'release', 'r', '{}', $1)`, n+1, line.age), []byte(body(line.list)))
	}
	if err := try(t, audit, `INSERT INTO audit.lines (instance, seq, at, kind, request, header, body) VALUES ('g', 9, now(), 'release', 'r', '{}', $1)`, []byte(body("never"))); err == nil {
		t.Error("a line came before the list that it refers to")
	}
	lists := func(after string, want string) {
		t.Helper()
		if err := try(t, owner, fmt.Sprintf("SELECT 1 / (string_agg(digest, ' ' ORDER BY digest) = '%s')::int FROM audit.subject_lists", want)); err != nil {
			t.Errorf("%s: the lists are not %s", after, want)
		}
	}
	lists("before", "both fresh old one")
	exec1(t, audit, "SELECT 1 / (audit.erase_bodies(now() - interval '190 days') = 2)::int")
	lists("old bodies erased", "both fresh one")
}

// A platform that stands has the rights of an older version: what is no longer given is taken away.
func TestMigrateTakesFormerRightsAway(t *testing.T) {
	grid, owner := database(t)
	exec1(t, owner, "GRANT SELECT, INSERT, UPDATE ON grid.consents TO dizuo_grid; GRANT SELECT ON grid.consents TO dizuo_gateway")
	if err := Migrate(t.Context(), owner, postgres.Passwords(), quiet()); err != nil {
		t.Fatal(err)
	}
	gateway := grid
	gateway.User = contract.DatabaseUserGateway
	if try(t, grid, "SELECT subject FROM grid.consents") == nil || try(t, gateway, "SELECT evidence FROM grid.consents") == nil {
		t.Error("a right that is no longer given was kept")
	}
}

// An external database whose owner may make no roles, with those of the version before: the grid service starts, and the roles that no
// service uses yet get their rights when they are there. Without one that is used it does not start.
func TestMigrateWithoutTheRightToMakeRoles(t *testing.T) {
	_, owner := database(t)
	name := owner.Name + "_external"
	exec1(t, owner, fmt.Sprintf("CREATE ROLE plain LOGIN PASSWORD '%s'", postgres.Password))
	exec1(t, owner, fmt.Sprintf("CREATE DATABASE %s OWNER plain", name))
	rename := func(role string) (back func()) {
		exec1(t, owner, fmt.Sprintf("ALTER ROLE %s RENAME TO away_%[1]s", role))
		return func() { exec1(t, owner, fmt.Sprintf("ALTER ROLE away_%s RENAME TO %[1]s", role)) }
	}
	external, in := owner, owner
	external.User, external.Name, in.Name = "plain", name, name
	migrate := func() error { return Migrate(t.Context(), external, postgres.Passwords(), quiet()) }

	grid := rename(contract.DatabaseUserGrid)
	err := migrate()
	grid()
	if err == nil || !strings.Contains(err.Error(), "role dizuo_grid is not there") {
		t.Errorf("without the role of the grid service: %v", err)
	}
	vault := rename(contract.DatabaseUserVault)
	err = migrate()
	vault()
	if err != nil {
		t.Fatalf("without the roles that no service uses: %v", err)
	}
	for _, user := range contract.DatabaseUsers() {
		want := lines(rights[user])
		switch user {
		case contract.DatabaseUserVault:
			want = nil
		case contract.DatabaseUserGateway:
			want = want[1:] // the table of households is not there
		}
		if diff := cmp.Diff(want, rightsOf(t, in, user)); diff != "" {
			t.Errorf("%s: -want +got:\n%s", user, diff)
		}
	}
	if err := migrate(); err != nil {
		t.Fatalf("when the roles are there: %v", err)
	}
	if diff := cmp.Diff(lines(rights[contract.DatabaseUserVault]), rightsOf(t, in, contract.DatabaseUserVault)); diff != "" {
		t.Errorf("vault, later: -want +got:\n%s", diff)
	}
}

// goose refuses a migration with a number below one that a database has: a new one is numbered behind all that were shipped, and those stay.
func TestMigrationsAreNumberedBehindThoseShipped(t *testing.T) {
	shipped := []int64{1, 2, 4, 7, 8, 20, 21, 22, 23}
	files, err := fs.Sub(migrations, "migrations")
	if err != nil {
		t.Fatal(err)
	}
	p, err := goose.NewProvider(goose.DialectPostgres, &sql.DB{}, files)
	if err != nil {
		t.Fatal(err)
	}
	there := map[int64]bool{}
	for _, s := range p.ListSources() {
		there[s.Version] = true
		if !slices.Contains(shipped, s.Version) && s.Version < slices.Max(shipped) {
			t.Errorf("%s: a database that has migration %d fails at it; number it higher", s.Path, slices.Max(shipped))
		}
	}
	for _, version := range shipped {
		if !there[version] {
			t.Errorf("migration %d is gone, and databases have it", version)
		}
	}
}

// A database of the version before is migrated with what it holds.
func TestMigrateFromTheVersionBefore(t *testing.T) {
	_, owner := database(t)
	name := owner.Name + "_before"
	exec1(t, owner, "CREATE DATABASE "+name)
	owner.Name = name
	exec1(t, owner, "CREATE SCHEMA grid")
	p := provider(t, owner)
	if _, err := p.UpTo(t.Context(), 19); err != nil {
		t.Fatal(err)
	}
	exec1(t, owner, "INSERT INTO grid.consents (subject, scope, given_at, withdrawn_at) VALUES ('s', 'care', now(), NULL), ('t', 'care', now(), now() - interval '1 day')")
	if err := Migrate(t.Context(), owner, postgres.Passwords(), quiet()); err != nil {
		t.Fatal(err)
	}
	exec1(t, owner, "SELECT 1 / (count(*) = 2 AND count(DISTINCT id) = 2 AND bool_and(purposes = '{}'))::int FROM grid.consents")
}

// provider runs the migrations of this tree on a database with the schema grid.
func provider(t *testing.T, owner contract.DatabaseConfig) *goose.Provider {
	t.Helper()
	c, err := connConfig(owner)
	if err != nil {
		t.Fatal(err)
	}
	db := stdlib.OpenDB(*c, stdlib.OptionBeforeConnect(refresh(owner)))
	t.Cleanup(func() { _ = db.Close() })
	files, err := fs.Sub(migrations, "migrations")
	if err != nil {
		t.Fatal(err)
	}
	p, err := goose.NewProvider(goose.DialectPostgres, db, files, goose.WithTableName("grid.migrations"))
	if err != nil {
		t.Fatal(err)
	}
	return p
}
