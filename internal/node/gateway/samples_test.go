package gateway

import (
	"crypto"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/dizuo/dizuo/api/v1alpha1"     //nolint:depguard // the samples are compiled, as the operator does
	"github.com/dizuo/dizuo/internal/compile" //nolint:depguard // likewise
	"github.com/dizuo/dizuo/internal/contract"
	"github.com/dizuo/dizuo/internal/node/grid"
	"github.com/dizuo/dizuo/internal/node/intake"
	"github.com/dizuo/dizuo/internal/node/person"
	"github.com/dizuo/dizuo/internal/offline"
	"github.com/dizuo/dizuo/internal/reason"
	"github.com/dizuo/dizuo/policies"
	"github.com/dizuo/dizuo/test/pki"
	"github.com/dizuo/dizuo/test/postgres"
)

// samplesDir holds the twelve agreements, the rows behind them, and what must be denied.
const samplesDir = "../../../config/samples/sharing"

// samplesNow is a Monday, ten in the morning, within the agreements' validity and hours.
var samplesNow = time.Date(2027, 1, 4, 2, 0, 0, 0, time.UTC)

// shared is a gateway over the samples.
type shared struct {
	*world
	platform *offline.Platform
	at       time.Time
}

// samples compiles the samples, with further files, as the operator does, and starts a gateway over a migrated database with seed.sql.
func samples(t *testing.T, more ...string) *shared {
	t.Helper()
	far := func(c *x509.Certificate) { c.NotAfter = samplesNow.AddDate(20, 0, 0) }
	s := &shared{at: samplesNow, platform: compiledSamples(t, more...)}
	s.world = &world{t: t, ca: pki.New(t, "platform", far), certs: map[string]tls.Certificate{}, now: func() time.Time { return s.at }}
	server := postgres.Shared(t)
	name := fmt.Sprintf("samples_%d", time.Now().UnixNano())
	server.Exec(t, "postgres", "CREATE DATABASE "+name)
	if err := grid.Migrate(t.Context(), server.Owner(name), postgres.Passwords(), silent()); err != nil {
		t.Fatal(err)
	}
	seed, err := os.ReadFile(samplesDir + "/seed.sql")
	if err != nil {
		t.Fatal(err)
	}
	server.Exec(t, name, string(seed))
	s.exec = func(sql string, args ...any) { t.Helper(); server.Exec(t, name, sql, args...) }
	audit := server.Owner(name)
	s.config.Database = audit
	s.config.Database.User, audit.User = contract.DatabaseUserGateway, contract.DatabaseUserAudit
	s.audit = &audit
	s.bundle = intake.Bundle{
		Lease: contract.Lease{Platform: "sharing/sharing", Scope: contract.ScopeCenter, Revision: "sha256:r1", Sequence: 1, IssuedAt: samplesNow.Add(-time.Minute), ExpiresAt: samplesNow.AddDate(1, 0, 0)},
		Directory: contract.Directory{Platform: s.platform.Plan.Document, Communities: map[string]contract.Community{},
			Organizations: map[string]contract.Organization{}},
		Modules: policies.Access(),
		Access:  contract.Access{Datasets: map[string]contract.Dataset{}, Grants: map[string]map[string]map[string]contract.Grant{}},
	}
	for _, m := range s.platform.Members {
		s.put(m)
	}
	for organization, o := range s.bundle.Directory.Organizations {
		s.certs[organization] = s.ca.Client(t, o.URIs[0], far)
	}
	s.start()
	return s
}

func compiledSamples(t *testing.T, more ...string) *offline.Platform {
	t.Helper()
	catalog, err := offline.Catalog()
	if err != nil {
		t.Fatal(err)
	}
	set, err := offline.Load(t.Context(), offline.Source{Paths: append([]string{samplesDir}, more...)}, "sharing")
	if err != nil {
		t.Fatal(err)
	}
	r, err := offline.Compile(t.Context(), set, offline.Options{Now: samplesNow, Images: compile.Images{Node: "node", Postgres: "postgres"}, Catalog: catalog})
	if err != nil {
		t.Fatal(err)
	}
	if len(r.Platforms) != 1 {
		t.Fatalf("%d platforms: %v", len(r.Platforms), r.Findings)
	}
	return r.Platforms[0]
}

// put puts what a member contributes into the bundle.
func (s *shared) put(m *offline.Member) {
	name := m.GetName()
	if m.Fatal {
		return
	}
	switch plan := m.Plan.(type) {
	case compile.CommunityPlan:
		s.bundle.Directory.Communities[name] = plan.Document
	case compile.OrganizationPlan:
		s.bundle.Directory.Organizations[name] = plan.Document
	case compile.DatasetPlan:
		s.bundle.Access.Datasets[name] = plan.Document
	case compile.AgreementPlan:
		for dataset, g := range plan.Grants {
			g.UID, g.Generation = "uid-"+name, 1 // the API server gives them
			of := s.bundle.Access.Grants
			if of[dataset] == nil {
				of[dataset] = map[string]map[string]contract.Grant{}
			}
			if of[dataset][plan.Consumer] == nil {
				of[dataset][plan.Consumer] = map[string]contract.Grant{}
			}
			of[dataset][plan.Consumer][name] = g
		}
	}
}

// sampleQuestion is one request of the samples, and what must come of it: a refusal's reason, or lines.
type sampleQuestion struct {
	// Why is for who reads the golden.
	why, agreement, dataset, by string
	person, role                string
	query                       string
	emergency                   string
	// at is another time than samplesNow.
	at time.Time

	refused string
	lines   []string
}

func (s *shared) person(organization, subject, role string) string {
	s.t.Helper()
	c := s.certs[organization]
	token, err := person.Sign(c.PrivateKey.(crypto.Signer), []*x509.Certificate{c.Leaf}, organization, subject, role,
		contract.PersonAudience("sharing", "sharing", contract.RoleGateway), s.at, 10*time.Minute)
	if err != nil {
		s.t.Fatal(err)
	}
	return token
}

// question asks the gateway, over the network, and gives the reason of a refusal, or the lines of the answer.
func (s *shared) question(q sampleQuestion) (refused string, lines []string) {
	s.t.Helper()
	s.at = samplesNow
	if !q.at.IsZero() {
		s.at = q.at
	}
	path := "/records?"
	if strings.HasPrefix(q.query, "aggregate:") {
		path = "/aggregate?"
	}
	req, err := http.NewRequest(http.MethodGet, s.http.URL+"/v1/datasets/"+q.dataset+path+strings.TrimPrefix(q.query, "aggregate:")+"&agreement="+q.agreement, nil)
	if err != nil {
		s.t.Fatal(err)
	}
	if q.role != "" {
		req.Header.Set("Dizuo-Person", s.person(q.by, q.person, q.role))
	}
	if q.emergency != "" {
		req.Header.Set("Dizuo-Break-Glass", url.PathEscape(q.emergency))
	}
	r, err := send(s.client(q.by), req)
	if err != nil {
		s.t.Fatal(err)
	}
	if r.status != http.StatusOK {
		return strings.Join(r.problem.Reasons, " "), nil
	}
	if path == "/aggregate?" {
		var a Aggregate
		if err := json.Unmarshal([]byte(r.raw), &a); err != nil {
			s.t.Fatal(err)
		}
		return "", groupLines(a)
	}
	for _, record := range r.Records {
		lines = append(lines, recordLine(record, r.Masked))
	}
	slices.Sort(lines) // the order of an answer tells nothing
	return "", lines
}

var pseudonymForm = regexp.MustCompile(`^[A-Za-z0-9_-]{20,}$`)

// recordLine gives a record as text, by the fields' names. A pseudonym hangs on keys; that it is one is said in its place.
func recordLine(record map[string]any, masked map[string]string) string {
	var out []string
	for _, name := range sortedKeys(record) {
		text := fmt.Sprint(record[name])
		if masked[name] == maskPseudonym && pseudonymForm.MatchString(text) {
			text = "(pseudonym)"
		}
		out = append(out, name+"="+text)
	}
	return strings.Join(out, ", ")
}

func groupLines(a Aggregate) (out []string) {
	for _, g := range a.Groups {
		raw, _ := json.Marshal(g)
		out = append(out, string(raw))
	}
	return out
}

func sampleFiles(t *testing.T) []string {
	t.Helper()
	files, err := filepath.Glob(samplesDir + "/a[0-9][0-9].yaml")
	if err != nil || len(files) != 12 {
		t.Fatalf("%d files (%v)", len(files), err)
	}
	return files
}

// TestSamples reads under each of the twelve agreements, through the gateway, from a PostgreSQL that holds rows that must not leave beside
// those that may. What is wanted is written down in samples_cases_test.go; the golden says it in words.
func TestSamples(t *testing.T) {
	s := samples(t)
	asked := map[string]bool{}
	texts := map[string]string{}
	for _, q := range sampleQuestions() {
		asked[q.agreement] = true
		refused, lines := s.question(q)
		if refused != q.refused {
			t.Errorf("%s: %s: refused for %q, want %q", q.agreement, q.why, refused, q.refused)
		}
		slices.Sort(q.lines)
		if diff := cmp.Diff(q.lines, lines); diff != "" {
			t.Errorf("%s: %s: %s", q.agreement, q.why, diff)
		}
		texts[q.agreement[:3]] += questionText(q, refused, lines)
	}
	for _, file := range sampleFiles(t) {
		number := strings.TrimSuffix(filepath.Base(file), ".yaml")
		var text strings.Builder
		for _, m := range s.platform.Members {
			if o, ok := m.Object.Object.(*v1alpha1.DataSharingAgreement); ok && strings.HasPrefix(o.Name, number+"-") {
				if !asked[o.Name] {
					t.Errorf("nothing is read under %s", o.Name)
				}
				s.describe(&text, o)
			}
		}
		golden(t, number, text.String()+"\n== What was asked, at "+samplesNow.In(mustZone(t)).Format("Mon 2006-01-02 15:04")+" unless it says otherwise\n"+texts[number]+s.statements(number))
	}
}

func golden(t *testing.T, number, got string) {
	t.Helper()
	path := "testdata/samples/" + number + ".txt"
	if os.Getenv("UPDATE_SAMPLES") != "" {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatalf("%v; UPDATE_SAMPLES=1 writes it", err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s (-want +got; UPDATE_SAMPLES=1 rewrites it): %s", path, diff)
	}
}

// describe says what was agreed, as the gateway got it.
func (s *shared) describe(b *strings.Builder, o *v1alpha1.DataSharingAgreement) {
	directory, consumer := s.bundle.Directory.Organizations, o.Spec.Consumer.Name
	for _, want := range o.Spec.Datasets {
		d := s.bundle.Access.Datasets[want.Name]
		g := s.bundle.Access.Grants[want.Name][consumer][o.Name]
		line := func(head, format string, args ...any) {
			fmt.Fprintf(b, "  %-10s %s\n", head, fmt.Sprintf(format, args...))
		}
		fmt.Fprintf(b, "== %s\n", o.Name)
		line("who", "%s (%s) reads %s (%s) of %s (%s)", directory[consumer].DisplayName, consumer, d.DisplayName, want.Name, directory[d.Provider].DisplayName, d.Provider)
		line("what for", "%s", strings.Join(g.Purposes, ", "))
		if basis := o.Spec.LegalBasis; basis != nil {
			line("on", "%s: %s", basis.Kind, basis.Citation)
		}
		persons := "none needed: nothing personal leaves"
		if g.PersonRequired {
			persons = "as " + strings.Join(g.Roles, ", ")
		}
		line("persons", "%s", persons)
		var fields []string
		for _, name := range want.Fields {
			fields = append(fields, strings.TrimSpace(name+" "+maskWords(g.Fields[name])))
		}
		line("fields", "%s", strings.Join(fields, ", "))
		if kept := slices.DeleteFunc(sortedKeys(d.Fields), func(f string) bool { return slices.Contains(want.Fields, f) }); len(kept) > 0 {
			line("not given", "%s", strings.Join(kept, ", "))
		}
		line("rows", "%s", rowWords(g))
		if limits := limitWords(g); limits != "" {
			line("limits", "%s", limits)
		}
	}
}

func maskWords(m contract.Mask) string {
	switch m.Method {
	case maskNone:
		return ""
	case maskKeepLast:
		return fmt.Sprintf("(last %d characters)", m.Keep)
	case maskGeneralise:
		return "(rounded to " + m.To + ")"
	case maskDrop:
		return "(dropped)"
	}
	return "(" + strings.ToLower(m.Method) + ")"
}

func rowWords(g contract.Grant) string {
	out := []string{"division under " + strings.Join(g.Rows.Divisions, " or ")}
	for _, part := range []struct {
		head   string
		values []string
	}{{"community", g.Rows.Communities}, {"grid", g.Rows.Grids}, {"compound", g.Rows.Compounds}} {
		if len(part.values) > 0 {
			out = append(out, part.head+" "+strings.Join(part.values, " or "))
		}
	}
	if g.Rows.Roster {
		out = append(out, "only where the roster has the person")
	}
	for _, r := range g.Rows.Requirements {
		out = append(out, strings.TrimSpace(r.Field+" "+r.Operator+" "+strings.Join(r.Values, ", ")))
	}
	if g.ConsentScope != "" {
		out = append(out, "whose subject consented to "+g.ConsentScope)
	}
	return strings.Join(out, "; ")
}

func limitWords(g contract.Grant) string {
	var out []string
	add := func(format string, args ...any) { out = append(out, fmt.Sprintf(format, args...)) }
	if g.CaseNumberRequired {
		add("for a case that is named")
	}
	if c := g.Case; c != nil {
		add("the case is one of %s, at least %s, open or closed for no more than %d s", strings.Join(c.Classes, ", "), c.MinSeverity, c.GraceSeconds)
	}
	if h := g.Hours; h != nil {
		add("from %02d:%02d to %02d:%02d%s", h.From/60, h.From%60, h.To/60, h.To%60, map[bool]string{true: " on working days"}[h.WorkingDaysOnly])
	}
	if e := g.BreakGlass; e != nil {
		add("in an emergency at any hour by %s, which %s reviews within %d h", strings.Join(e.Roles, ", "), e.Reviewer, e.ReviewSeconds/3600)
	}
	if a := g.Aggregates; a != nil && a.Only {
		add("nothing but counts, and sums of %s, by %s, of groups of %d and more", strings.Join(a.Measures, ", "), strings.Join(a.Dimensions, ", "), a.SmallCell)
	}
	if g.RequestsPerDay > 0 || g.RecordsPerDay > 0 {
		add("a day %d requests and %d records", g.RequestsPerDay, g.RecordsPerDay)
	}
	if g.NoOnward {
		add("no passing on")
	}
	return strings.Join(out, "; ")
}

func questionText(q sampleQuestion, refused string, lines []string) string {
	who := q.by
	if q.role != "" {
		who += ", " + q.person + " as " + q.role
	}
	when := ""
	if !q.at.IsZero() {
		when = " at " + q.at.In(time.FixedZone("", 8*3600)).Format("Mon 2006-01-02 15:04")
	}
	out := fmt.Sprintf("-- %s\n   %s asks %s under %s%s: %s\n", q.why, who, q.dataset, q.agreement, when, q.query)
	if q.emergency != "" {
		out += "   emergency: " + q.emergency + "\n"
	}
	if refused != "" {
		r := reason.Of(strings.Fields(refused)...)
		return out + "   REFUSED " + refused + ": " + r.English + " / " + r.Chinese + "\n"
	}
	if len(lines) == 0 {
		out += "   nothing\n"
	}
	for _, l := range lines {
		out += "   > " + l + "\n"
	}
	return out
}

// statements gives the queries that were run, one for each agreement that gives records.
func (s *shared) statements(number string) string {
	out := "\n== The queries\n"
	seen := map[string]bool{}
	for _, q := range sampleQuestions() {
		if !strings.HasPrefix(q.agreement, number) || q.refused != "" || seen[q.agreement] || q.emergency != "" {
			continue
		}
		seen[q.agreement] = true
		s.at = samplesNow
		aggregate := strings.HasPrefix(q.query, "aggregate:")
		values, err := url.ParseQuery(strings.TrimPrefix(q.query, "aggregate:"))
		if err != nil {
			s.t.Fatal(err)
		}
		r := &reading{caller: caller{organization: q.by, policy: s.server.policy.Load().policy, at: s.at}, limit: 100}
		in := &recordsInput{Name: q.dataset, Purpose: values.Get("purpose"), Agreement: q.agreement, CaseNumber: values.Get("caseNumber")}
		if aggregate {
			r.in.Aggregate = &contract.AggregateRequest{}
		}
		if q.role != "" {
			in.Person = s.person(q.by, q.person, q.role)
		}
		s.server.decide(s.t.Context(), r, in)
		if !r.decision.Allow {
			s.t.Fatalf("%s: %v", q.agreement, r.decision.Reasons)
		}
		sql := ""
		if aggregate {
			sel, err := s.server.tableSelection(s.t.Context(), r)
			if err == nil {
				sql, _, err = buildTable(sel)
			}
			if err != nil {
				s.t.Fatal(err)
			}
		} else {
			sel, err := s.server.selection(s.t.Context(), r)
			if err != nil {
				s.t.Fatal(err)
			}
			sel.limit = r.limit
			st, err := build(sel)
			if err != nil {
				s.t.Fatal(err)
			}
			sql = st.sql
		}
		out += "-- " + q.agreement + "\n" + sql + "\n"
	}
	return out
}

var expectAnswer = regexp.MustCompile(`(?m)^# expect: (decision|rows) (\S+) on (\S+) (\{.*\})$`)

// TestSamplesMustDeny: what a file of deny/ says of decisions and rows, and that under none of the others anything is read, by the gateway.
func TestSamplesMustDeny(t *testing.T) {
	files, err := filepath.Glob(samplesDir + "/deny/*.yaml")
	if err != nil || len(files) < 12 {
		t.Fatalf("%d files (%v)", len(files), err)
	}
	s := samples(t, files...)
	answers, denied := 0, 0
	for _, file := range files {
		raw, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		said := expectAnswer.FindAllStringSubmatch(string(raw), -1)
		for _, m := range said {
			var ask struct{ Person, Role, Purpose, Where string }
			if err := json.Unmarshal([]byte(m[4]), &ask); err != nil {
				t.Fatal(err)
			}
			o := s.agreement(m[3])
			q := sampleQuestion{agreement: o.Name, dataset: o.Spec.Datasets[0].Name, by: o.Spec.Consumer.Name, person: ask.Person, role: ask.Role, query: "purpose=" + ask.Purpose}
			if ask.Where != "" {
				if all, rows := s.question(q); all != "" || len(rows) == 0 {
					t.Errorf("%s: %q %v: there is nothing to be kept from", file, all, rows)
				}
				q.query += "&where=" + url.QueryEscape(ask.Where)
			}
			answers++
			refused, lines := s.question(q)
			if m[1] == "decision" && refused != m[2] || m[1] == "rows" && (refused != "" || len(lines) > 0) {
				t.Errorf("%s: %s on %s: refused %q, lines %v", filepath.Base(file), m[1:3], m[3], refused, lines)
			}
		}
		if len(said) > 0 {
			continue
		}
		for _, name := range regexp.MustCompile(`(?m)^# sign: (\S+)`).FindAllStringSubmatch(string(raw), -1) {
			o := s.agreement(name[1])
			role := ""
			if len(o.Spec.Roles) > 0 {
				role = o.Spec.Roles[0]
			}
			denied++
			refused, lines := s.question(sampleQuestion{agreement: o.Name, dataset: o.Spec.Datasets[0].Name, by: o.Spec.Consumer.Name, person: "worker-1", role: role, query: "purpose=" + string(o.Spec.Purposes[0])})
			if refused != "NoAgreement" || len(lines) > 0 {
				t.Errorf("%s: %s is answered: %q %v", filepath.Base(file), o.Name, refused, lines)
			}
		}
	}
	if answers < 2 || denied < 10 {
		t.Errorf("%d answers and %d agreements were tried", answers, denied)
	}
}

func (s *shared) agreement(name string) *v1alpha1.DataSharingAgreement {
	s.t.Helper()
	for _, m := range s.platform.Members {
		if o, ok := m.Object.Object.(*v1alpha1.DataSharingAgreement); ok && o.Name == name {
			return o
		}
	}
	s.t.Fatalf("no agreement %s", name)
	return nil
}

// TestCatalogTellsOwnAgreementsOnly: who has no agreement on a dataset learns nothing of it, and nobody learns where it lies.
func TestCatalogTellsOwnAgreementsOnly(t *testing.T) {
	s := samples(t)
	s.server.measureDue(t.Context(), s.bundle.Access.Datasets, samplesNow)
	list := func(organization string) (out CatalogList, raw string) {
		resp, err := s.client(organization).Get(s.http.URL + "/v1/catalog")
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = resp.Body.Close() }()
		text, err := io.ReadAll(resp.Body)
		if err != nil || resp.StatusCode != http.StatusOK {
			t.Fatalf("%s: %d %s %v", organization, resp.StatusCode, text, err)
		}
		if err := json.Unmarshal(text, &out); err != nil {
			t.Fatal(err)
		}
		return out, string(text)
	}
	all, raw := list("committee")
	if len(all.Items) != 1 || all.Items[0].Name != "difficult-elders" || all.Items[0].ItemCode != "MZ-0601" || all.Items[0].MaxAgeSeconds != 720*3600 {
		t.Fatal(raw)
	}
	if i := all.Items[0]; i.Measured == nil || i.Measured.Timeliness == nil || i.Expected == nil || len(i.Fields) != 6 {
		t.Errorf("quality and fields: %s", raw)
	}
	for _, inner := range []string{"updatedAt", "difficult_elders", "subject", "risk-persons", "schema"} {
		if strings.Contains(raw, inner) {
			t.Errorf("%s is told: %s", inner, raw)
		}
	}
	if none, raw := list("merchant"); len(none.Items) != 0 {
		t.Errorf("merchant: %s", raw)
	}
}
