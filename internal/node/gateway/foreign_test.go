package gateway

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/dizuo/dizuo/internal/contract"
	"github.com/dizuo/dizuo/test/postgres"
)

// foreign puts the dataset into a database of its own, as a provider has it.
func foreign(w *world) {
	t := w.t
	server := postgres.Shared(t)
	name := fmt.Sprintf("provider_%d", time.Now().UnixNano())
	server.Exec(t, "postgres", `CREATE DATABASE `+name)
	server.Exec(t, name, `CREATE TABLE public.people (id bigint PRIMARY KEY, village text, person text, phone text);
		INSERT INTO public.people SELECT i, CASE WHEN i % 10 = 0 THEN 'east' ELSE 'jinghu' END, 'k' || i, '138' || i FROM generate_series(1, 100) i;
		CREATE ROLE `+name+` LOGIN PASSWORD '`+postgres.Password+`'; GRANT SELECT ON public.people TO `+name)
	owner := server.Owner(name)
	ca, err := os.ReadFile(owner.CAFile)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	dsn := fmt.Sprintf("postgres://%s:%s@%s:%d/%s?sslmode=verify-full\n%s", name, postgres.Password, owner.Host, owner.Port, name, ca)
	if err := os.WriteFile(filepath.Join(dir, "elders"), []byte(dsn), 0o600); err != nil {
		t.Fatal(err)
	}
	w.config.SourceDir = dir
	d := w.bundle.Access.Datasets["elders"]
	d.Source = contract.Source{DSN: "elders", Schema: "public", Table: "people", CommunityColumn: "village", SubjectColumn: "person"}
	d.Fields = map[string]contract.DatasetField{"phone": {Type: "String", Column: "phone", Personal: "Ordinary"}, "who": {Type: "String", Column: "person", Personal: "Ordinary"}}
	w.bundle.Access.Datasets["elders"] = d
	g := w.bundle.Access.Grants["elders"]["town"]["a6"]
	g.Fields = map[string]contract.Mask{"phone": {}, "who": {Method: maskPseudonym}}
	w.bundle.Access.Grants["elders"]["town"]["a6"] = g
}

func TestForeignSource(t *testing.T) {
	w := newWorld(t, foreign)
	read := func(query string) reply {
		return w.get("town", w.token("town", "GridWorker"), "elders", "purpose=HomeVisits&limit=200&"+query)
	}
	r := read("")
	first := slices.IndexFunc(r.Records, func(record map[string]any) bool { return record["phone"] == "1381" })
	if r.status != 200 || len(r.Records) != 90 || first < 0 {
		t.Fatalf("%d %.300s", r.status, r.raw)
	}
	if got, want := r.Records[first]["who"], pseudonym(w.server.keys.mask("uid-visits"), "k1"); got != want {
		t.Errorf("pseudonym %v, want %s", got, want)
	}
	if r := read("where=phone:In:1381,13810"); len(r.Records) != 1 {
		t.Errorf("filter: %d %.300s", r.status, r.raw)
	}
	// Without a vault nobody's consent can be looked up, so nothing is given.
	w.regrant(func(g *contract.Grant) { g.ConsentScope = "care" })
	if r := read(""); r.status != 503 || r.problem.Reasons[0] != reasonConsentUnavailable {
		t.Errorf("without a vault: %d %.300s", r.status, r.raw)
	}
	vault := stubVault{}
	for i := 3; i <= 100; i += 3 {
		vault[fmt.Sprintf("k%d", i)] = fmt.Sprintf("subject-%d", i)
	}
	w.server.subjects = vault
	got, cursor, pages := 0, "", 0
	for pages = 0; pages < 50; pages++ {
		r := w.get("town", w.token("town", "GridWorker"), "elders", "purpose=HomeVisits&limit=7&cursor="+cursor)
		if r.status != 200 {
			t.Fatalf("%d %.300s", r.status, r.raw)
		}
		for _, record := range r.Records {
			var n int
			if _, err := fmt.Sscanf(fmt.Sprint(record["phone"]), "138%d", &n); err != nil || n%3 != 0 || n%10 == 0 {
				t.Errorf("record %v", record)
			}
		}
		got += len(r.Records)
		if cursor = r.Next; cursor == "" {
			break
		}
	}
	if want := 33 - 3; got != want || pages != got/7 {
		t.Errorf("%d records on %d pages, want %d: the pages are filled up", got, pages+1, want)
	}
	w.close()
	var named bool
	for _, r := range w.records() {
		for _, s := range r.Subjects {
			named = named || s == pseudonym(w.server.keys.subject, "subject-3")
		}
	}
	if !named {
		t.Error("the log does not name the subject that the vault knows")
	}
}

// A provider's database that takes connections and says nothing takes its own readers' time and no others', and no more than so many.
func TestForeignSourceThatHangs(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	w := newWorld(t, foreign, func(w *world) {
		own := w.bundle.Access.Datasets["elders"]
		d := testDataset("x")
		d.Fields, d.Source = own.Fields, own.Source
		d.Source.DSN = "hangs"
		w.bundle.Access.Datasets["hangs"] = d
		w.bundle.Access.Grants["hangs"] = map[string]map[string]contract.Grant{"town": {"a7": w.bundle.Access.Grants["elders"]["town"]["a6"]}}
		dsn := "postgres://u:" + postgres.Password + "@" + l.Addr().String() + "/d?sslmode=verify-full"
		if err := os.WriteFile(filepath.Join(w.config.SourceDir, "hangs"), []byte(dsn), 0o600); err != nil {
			t.Fatal(err)
		}
	})
	token := w.token("town", "GridWorker")
	done := make(chan string, 40)
	for range 40 {
		go func() {
			r, err := fetchReply(w.client("town"), w.http.URL, token, "hangs", "purpose=HomeVisits")
			if err != nil {
				done <- err.Error()
				return
			}
			done <- r.problem.Reasons[0]
		}()
	}
	for range 36 { // those beyond what one organisation may read at once are sent away, and others are served meanwhile
		if got := <-done; got != reasonRateLimited {
			t.Errorf("%s, want %s", got, reasonRateLimited)
		}
	}
	// Many organisations together are sent away at once, beyond what may wait.
	hangs, err := w.server.sources.get(t.Context(), "hangs")
	if err != nil {
		t.Fatal(err)
	}
	var leaves []func()
	for range foreignWaiting - readsAtOnce {
		_, leave, err := hangs.enter(t.Context(), time.Minute)
		if err != nil {
			t.Fatal(err)
		}
		leaves = append(leaves, leave)
	}
	if _, _, err := hangs.enter(t.Context(), time.Minute); !errors.Is(err, errBusy) {
		t.Errorf("one too many: %v", err)
	}
	for _, leave := range leaves {
		leave()
	}
	if r := w.get("town", token, "elders", "purpose=HomeVisits"); r.status != 200 {
		t.Errorf("another source: %d %.300s", r.status, r.raw)
	}
	for range readsAtOnce {
		if got := <-done; got != reasonSourceUnavailable {
			t.Errorf("%s, want %s", got, reasonSourceUnavailable)
		}
	}
}

func TestForeignConfig(t *testing.T) {
	cfg, err := foreignConfig("postgresql://u:p%40ss@db.example/health?sslmode=verify-full\n")
	if err != nil {
		t.Fatal(err)
	}
	if cc := cfg.ConnConfig; cc.Host != "db.example" || cc.Port != 5432 || cc.Password != "p@ss" || cc.Database != "health" || cc.TLSConfig == nil || cc.TLSConfig.InsecureSkipVerify {
		t.Errorf("%+v", cc)
	}
	for _, bad := range []string{
		"", "host=db user=u", "postgres://db/health", "postgres://u:secret@/health", "postgres://u:secret@db", "postgres://u:secret@a,b/health", "postgres://u:secret@%2Fvar%2Frun/health",
		"postgres://u:secret@db/health?sslmode=disable", "postgres://u:secret@db/health?sslmode=require", "postgres://u:secret@db/health?sslkey=/run/secrets/key",
		"postgres://u:secret@db/health?sslmode=verify-full&passfile=/run/x", "postgres://u:secret@db/health?options=-c%20default_transaction_read_only=off",
		"postgres://u:secret@db:0/health", "postgres://u:secret@db/health?sslmode=verify-full\nnot a certificate",
	} {
		if _, err := foreignConfig(bad); err == nil || strings.Contains(err.Error(), "secret") {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

// What a dataset says of its source opens no table of the platform's own services.
func TestSourceOf(t *testing.T) {
	for _, bad := range []contract.Source{{Schema: "grid", Table: "consents"}, {Schema: "platform", Table: "roster"}, {Schema: "audit", Table: "lines"}, {Schema: "pg_catalog", Table: "pg_authid"},
		{Schema: "information_schema", Table: "tables"}, {Type: "Secrets"}} {
		if got, err := sourceOf(bad); err == nil {
			t.Errorf("%+v gives %+v", bad, got)
		}
	}
	if got, err := sourceOf(contract.Source{Type: "Cases", Schema: "grid", Table: "consents"}); err != nil || got.Schema != "platform" || got.Table != "cases" {
		t.Errorf("%+v, %v", got, err)
	}
}
