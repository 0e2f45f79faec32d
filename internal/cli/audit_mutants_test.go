package cli

import (
	"bytes"
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/dizuo/dizuo/internal/audit"
	"github.com/dizuo/dizuo/internal/contract"
	"github.com/dizuo/dizuo/internal/contract/decisionlog"
	"github.com/dizuo/dizuo/internal/contract/seal"
	"github.com/dizuo/dizuo/policies"
	"github.com/dizuo/dizuo/test/pki"
)

// mutable is a gateway's log by a policy whose grants are in parts of their own, to be changed.
type mutable struct {
	*audited
	// sealed gives the signed parts, by their digest; theirs are the digests of the grants to town, health and of those to town that are wider.
	sealed                map[string][]byte
	access                string
	town, health, widened string
}

func newMutable(t *testing.T) *mutable {
	t.Helper()
	m := &mutable{audited: newAudited(t), sealed: map[string][]byte{}}
	field := contract.DatasetField{Type: "Integer", Column: "c", Grade: "General3", Personal: "None"}
	text := contract.DatasetField{Type: "String", Column: "d", Grade: "General3", Personal: "None"}
	grant := func(rows contract.Rows) map[string]any {
		return map[string]any{"a6": contract.Grant{UID: "uid-a6", Generation: 3, Digest: "sha256:aa", Fields: map[string]contract.Mask{"level": {}, "place": {Method: "KeepLast", Keep: 4}}, Rows: rows,
			Purposes: []string{"HomeVisits"}, CaseNumberRequired: true}}
	}
	if contract.GrantsShard("town") == contract.GrantsShard("health") {
		t.Fatal("both consumers are in one part")
	}
	m.access = m.part(m.signer, contract.Shard{Name: contract.ShardAccess, Roots: []string{"dizuo/access", "dizuo/datasets"}, Modules: policies.Access(),
		Data: map[string]any{"dizuo": map[string]any{"datasets": map[string]any{"elders": contract.Dataset{Provider: "civil-affairs", Sharing: "Conditional", Category: "Ordinary",
			Fields: map[string]contract.DatasetField{"level": field, "place": text}}}}}})
	grants := func(consumer string, rows contract.Rows) string {
		return m.part(m.signer, contract.Shard{Name: contract.GrantsShard(consumer), Roots: []string{"dizuo/grants"},
			Data: map[string]any{"dizuo": map[string]any{"grants": map[string]any{"elders": map[string]any{consumer: grant(rows)}}}}})
	}
	m.town, m.health, m.widened = grants("town", m.rows), grants("health", m.rows), grants("town", contract.Rows{Divisions: []string{"41"}})
	m.policy = m.revision(m.signer, contract.Lease{}, m.town)
	return m
}

// part seals a part and keeps it beside the log.
func (m *mutable) part(by *seal.Signer, s contract.Shard) string {
	m.t.Helper()
	raw, err := json.Marshal(s.Data)
	if err != nil {
		m.t.Fatal(err)
	}
	s.Data = nil
	if err := json.Unmarshal(raw, &s.Data); err != nil {
		m.t.Fatal(err)
	}
	if s, err = seal.Normalize(s); err != nil {
		m.t.Fatal(err)
	}
	digest, err := s.ContentDigest()
	if err != nil {
		m.t.Fatal(err)
	}
	if m.sealed[digest], err = by.Shard(s); err != nil {
		m.t.Fatal(err)
	}
	m.write("log/policy/"+audit.PartName(digest), m.sealed[digest])
	return digest
}

// revision signs the lease of a revision with some grants to town, and keeps it beside the log. What change has is signed instead.
func (m *mutable) revision(by *seal.Signer, change contract.Lease, town string) contract.PolicyRef {
	m.t.Helper()
	name, raw := m.signed(by, change, town)
	m.write("log/policy/"+audit.RevisionName(name), raw)
	return contract.PolicyRef{Revision: name, Sequence: 8, Access: m.access, Grants: town}
}

func (m *mutable) signed(by *seal.Signer, change contract.Lease, town string) (string, []byte) {
	m.t.Helper()
	index := contract.Index{Shards: []contract.ShardRef{{Name: contract.ShardAccess, Digest: m.access}, {Name: contract.GrantsShard("town"), Digest: town}, {Name: contract.GrantsShard("health"), Digest: m.health}}}
	lease := contract.Lease{Platform: "ns/henan", Scope: contract.ScopeCenter, Revision: index.Revision(), Sequence: 7, IssuedAt: m.at, ExpiresAt: m.at.Add(time.Hour)}
	if change.Scope != "" {
		lease.Scope = change.Scope
	}
	if change.Revision != "" {
		lease.Revision = change.Revision
	}
	jws, err := by.Lease(lease)
	if err != nil {
		m.t.Fatal(err)
	}
	raw, err := json.Marshal(audit.Revision{Lease: jws, Index: index})
	if err != nil {
		m.t.Fatal(err)
	}
	return index.Revision(), raw
}

// request logs what the policy gives on a request, an hour after the one before. change may make it another.
func (m *mutable) request(name string, change func(*decisionlog.Record)) {
	m.t.Helper()
	m.at = m.at.Add(time.Hour)
	rows := contract.Rows{Divisions: slices.Clone(m.rows.Divisions)}
	policy := m.policy
	r := decisionlog.Record{At: m.at, Kind: contract.LogDecision, Request: name, UID: "uid-a6", LogBody: contract.LogBody{Salt: "0f", Policy: &policy, Generation: 3, Digest: "sha256:aa",
		Input: &contract.DecisionInput{Contract: contract.ContractVersion, Dataset: "elders", Consumer: "town", Agreement: "a6", Purpose: "HomeVisits", Now: m.at.Unix(),
			Case: &contract.CaseFact{Number: "C-1", Origin: contract.CaseForeign}},
		Decision: &contract.Decision{Allow: true, Agreement: "a6", Fields: map[string]contract.Mask{"level": {}, "place": {Method: "KeepLast", Keep: 4}}, Rows: &rows}}}
	if change != nil {
		change(&r)
	}
	m.append(r)
}

// archive gives the files of an archive of all of agreement a6.
func (m *mutable) archive() map[string][]byte {
	m.t.Helper()
	file, dir := m.path("all.tar.gz"), m.t.TempDir()
	_ = os.Remove(file)
	if code, out := m.run("export", "--agreement", "a6", "--from", "2026-03-01T09:00:00Z", "--to", m.at.Format(time.RFC3339), "--log", m.log, "--bundle-keys", m.path("bundle.pub"), "--out", file); code != ExitOK {
		m.t.Fatalf("export: %d\n%s", code, out)
	}
	f, err := os.Open(file)
	if err != nil {
		m.t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	if err := audit.Extract(f, dir); err != nil {
		m.t.Fatal(err)
	}
	files := map[string][]byte{}
	if err := filepath.WalkDir(dir, func(path string, e os.DirEntry, err error) error {
		if err == nil && !e.IsDir() {
			name, _ := filepath.Rel(dir, path)
			files[name], err = os.ReadFile(path)
		}
		return err
	}); err != nil {
		m.t.Fatal(err)
	}
	return files
}

// judge packs files again, as whoever changed them would, and gives what both commands say of them.
func (m *mutable) judge(opa string, files map[string][]byte) (verified int, verify string, replayed int, replay string) {
	m.t.Helper()
	if err := audit.Seal(files); err != nil {
		m.t.Fatal(err)
	}
	var packed bytes.Buffer
	if err := audit.Write(&packed, files); err != nil {
		m.t.Fatal(err)
	}
	file := m.write("changed.tar.gz", packed.Bytes())
	verified, verify = m.run("verify", file, "--witness", m.witness, "--witness-key", m.witnessKeys, "--trust", m.auditKeys, "--retention", "87600h")
	replayed, replay = m.run("replay", file, "--opa", opa, "--bundle-keys", m.path("bundle.pub"))
	return verified, verify, replayed, replay
}

// TestReplayFindsWhatAGatewayMadeUp: the log is whole and witnessed, and a decision in it is not what the signed policy gives on the input that it has.
func TestReplayFindsWhatAGatewayMadeUp(t *testing.T) {
	opa := stockOPA(t)
	for name, x := range map[string]struct {
		change func(*mutable, *decisionlog.Record)
		code   int
		says   string
	}{
		"": {nil, ExitOK, "1 decisions are the same, 0 refused by the gateway beside the policy, 0 refused without saying so, 0 differ, 0 cannot be made again"},
		"a refusal that was none": {func(_ *mutable, r *decisionlog.Record) {
			r.Decision = &contract.Decision{Agreement: "a6", Reasons: []string{"PurposeNotAllowed"}}
		}, ExitOK, "line 1, request r: refused, and the log does not say that it was beside the policy: opa decides"},
		"allowed, and should be refused": {func(_ *mutable, r *decisionlog.Record) { r.Input.Purpose = "Billing" }, ExitFailed, `line 1, request r: opa decides {"allow":false`},
		"no case, and one is asked for":  {func(_ *mutable, r *decisionlog.Record) { r.Input.Case = nil }, ExitFailed, `line 1, request r: opa decides {"allow":false`},
		"a mask dropped":                 {func(_ *mutable, r *decisionlog.Record) { r.Decision.Fields["place"] = contract.Mask{} }, ExitFailed, "line 1, request r: opa decides"},
		"a mask weaker": {func(_ *mutable, r *decisionlog.Record) {
			r.Decision.Fields["place"] = contract.Mask{Method: "KeepLast", Keep: 8}
		}, ExitFailed, "line 1, request r: opa decides"},
		"a field more":                  {func(_ *mutable, r *decisionlog.Record) { r.Decision.Fields["name"] = contract.Mask{} }, ExitFailed, "line 1, request r: opa decides"},
		"rows widened":                  {func(_ *mutable, r *decisionlog.Record) { r.Decision.Rows.Divisions = []string{"41"} }, ExitFailed, "line 1, request r: opa decides"},
		"rows of everywhere":            {func(_ *mutable, r *decisionlog.Record) { r.Decision.Rows.Divisions = nil }, ExitFailed, "line 1, request r: opa decides"},
		"no filter of rows":             {func(_ *mutable, r *decisionlog.Record) { r.Decision.Rows = nil }, ExitFailed, "line 1, request r: opa decides"},
		"an emergency":                  {func(_ *mutable, r *decisionlog.Record) { r.Decision.BreakGlass = true }, ExitFailed, "line 1, request r: opa decides"},
		"another generation":            {func(_ *mutable, r *decisionlog.Record) { r.Generation = 2 }, ExitFailed, `agreement "a6" has generation 3 by the signed policy, and the line says 2`},
		"another text of the agreement": {func(_ *mutable, r *decisionlog.Record) { r.Digest = "sha256:bb" }, ExitFailed, `agreement "a6" has digest sha256:aa by the signed policy, and the line says "sha256:bb"`},
		"another UID":                   {func(_ *mutable, r *decisionlog.Record) { r.UID = "uid-x" }, ExitFailed, `agreement "a6" has UID uid-a6 by the signed policy, and the line is filed under "uid-x"`},
		"a revision that is not there":  {func(_ *mutable, r *decisionlog.Record) { r.Policy.Revision = "sha256:other" }, ExitFailed, "revision sha256:other of the policy: "},
		"a revision with wider grants": {func(m *mutable, r *decisionlog.Record) {
			r.Policy.Revision = m.revision(m.signer, contract.Lease{}, m.widened).Revision
		}, ExitFailed,
			"the line names part " + contract.GrantsShard("town") + " as "},
		"wider grants of no revision":   {func(m *mutable, r *decisionlog.Record) { r.Policy.Grants = m.widened }, ExitFailed, "the line names part " + contract.GrantsShard("town") + " as "},
		"the part of another consumer":  {func(m *mutable, r *decisionlog.Record) { r.Policy.Grants = m.health }, ExitFailed, "the line names part " + contract.GrantsShard("town") + " as "},
		"asked by another consumer":     {func(_ *mutable, r *decisionlog.Record) { r.Input.Consumer = "health" }, ExitFailed, "the line names part " + contract.GrantsShard("health") + " as "},
		"another dataset":               {func(_ *mutable, r *decisionlog.Record) { r.Input.Dataset = "roads" }, ExitFailed, "line 1, request r: opa decides"},
		"a policy before it was signed": {func(_ *mutable, r *decisionlog.Record) { r.Policy.Sequence = 6 }, ExitFailed, "first signed as number 7"},
		"a policy of an edge node": {func(m *mutable, r *decisionlog.Record) {
			*r.Policy = m.revision(m.signer, contract.Lease{Scope: "edge.e1"}, m.town)
		}, ExitFailed, `the policy is of scope "edge.e1"`},
		"a policy signed by another key": {func(m *mutable, r *decisionlog.Record) {
			*r.Policy = m.revision(pki.Signer(m.t), contract.Lease{}, m.town)
		}, ExitFailed, "which is not trusted here"},
		"no grants":                     {func(_ *mutable, r *decisionlog.Record) { r.Policy.Grants = "" }, ExitFailed, "the line names part " + contract.GrantsShard("town") + ` as ""`},
		"a directory that is not in it": {func(_ *mutable, r *decisionlog.Record) { r.Policy.Directory = "sha256:d" }, ExitFailed, `the line names part directory as "sha256:d"`},
	} {
		m := newMutable(t)
		m.request("r", func(r *decisionlog.Record) {
			if x.change != nil {
				x.change(m, r)
			}
		})
		m.checkpoint()
		verified, verify, replayed, replay := m.judge(opa, m.archive())
		if verified != ExitOK {
			t.Errorf("%q: the log is not whole: %d\n%s", name, verified, verify)
		}
		if replayed != x.code || !strings.Contains(replay, x.says) {
			t.Errorf("%q: replay %d, want %d and %q\n%s", name, replayed, x.code, x.says, replay)
		}
	}
}

// replaced gives files with one text in place of another in one of them, which must have it.
func replaced(t *testing.T, files map[string][]byte, name, former, next string) {
	t.Helper()
	if !bytes.Contains(files[name], []byte(former)) {
		t.Fatalf("%s has no %s:\n%s", name, former, files[name])
	}
	files[name] = bytes.Replace(files[name], []byte(former), []byte(next), 1)
}

// TestChangedArchivesAreFound: whoever has the archive changes what a decision is made again by, and writes a manifest that fits. Each is found, by
// the check of the log, of the policy, or of both.
func TestChangedArchivesAreFound(t *testing.T) {
	opa := stockOPA(t)
	m := newMutable(t)
	m.request("r", nil)
	m.request("s", func(r *decisionlog.Record) {
		r.Input.Purpose, r.Decision = "Billing", &contract.Decision{Agreement: "a6", Reasons: []string{"PurposeNotAllowed"}}
	})
	m.checkpoint()
	whole := m.archive()
	log := "log/gateway-0.0a/" + decisionlog.FileName(1)
	r, s, town := audit.ReplayDir+"/r", audit.ReplayDir+"/s", "policy/"+audit.PartName(m.town)
	revision := "policy/" + audit.RevisionName(m.policy.Revision)
	record := func(files map[string][]byte, line int) []byte {
		l, err := decisionlog.Parse(bytes.Split(files[log], []byte{'\n'})[line])
		if err != nil {
			t.Fatal(err)
		}
		return l.Record
	}
	stranger := pki.Signer(t)
	const theLog = " does not match its digest: it was changed"
	for name, x := range map[string]struct {
		change         func(map[string][]byte)
		verify, replay string // what they say beside an exit code that is not 0; "" where it is 0
	}{
		"": {change: func(map[string][]byte) {}},
		"a decision flipped": {func(f map[string][]byte) { replaced(t, f, log, `"allow":true`, `"allow":false`) },
			"the record of line 1" + theLog, "the record of line 1" + theLog},
		"a mask dropped":             {func(f map[string][]byte) { replaced(t, f, log, `"method":"KeepLast","keep":4`, ``) }, "the record of line 1" + theLog, "the record of line 1" + theLog},
		"rows widened":               {func(f map[string][]byte) { replaced(t, f, log, `["410702"]`, `["41"]`) }, "the record of line 1" + theLog, "the record of line 1" + theLog},
		"another generation":         {func(f map[string][]byte) { replaced(t, f, log, `"generation":3`, `"generation":4`) }, "the record of line 1" + theLog, "the record of line 1" + theLog},
		"another purpose":            {func(f map[string][]byte) { replaced(t, f, log, `"purpose":"Billing"`, `"purpose":"HomeVisits"`) }, "the record of line 2" + theLog, "the record of line 2" + theLog},
		"the record of another line": {func(f map[string][]byte) { replaced(t, f, log, string(record(whole, 0)), string(record(whole, 1))) }, "the record of line 1" + theLog, "the record of line 1" + theLog},
		"a request renamed":          {func(f map[string][]byte) { replaced(t, f, log, `"request":"r"`, `"request":"s"`) }, "line 1 does not match its hash", "line 1 does not match its hash"},
		"a record left out": {func(f map[string][]byte) { replaced(t, f, log, `,"record":`+string(record(whole, 1)), "") },
			"the records of line 2 are missing", "the record is not here"},
		"a line left out":             {func(f map[string][]byte) { f[log] = append(bytes.SplitAfter(f[log], []byte{'\n'})[0], nil...) }, "checkpoint saw line 2", "checkpoint saw line 2"},
		"by hand: a decision flipped": {func(f map[string][]byte) { replaced(t, f, r+".expected.json", `"allow": true`, `"allow": false`) }, r + ".expected.json is not what the log has", r + ".expected.json is not what the log has"},
		"by hand: a mask dropped":     {func(f map[string][]byte) { replaced(t, f, r+".expected.json", `"KeepLast"`, `""`) }, r + ".expected.json is not what", r + ".expected.json is not what"},
		"by hand: another purpose":    {func(f map[string][]byte) { replaced(t, f, s+".input.json", "Billing", "HomeVisits") }, s + ".input.json is not what", s + ".input.json is not what"},
		"by hand: two requests in turn": {func(f map[string][]byte) {
			for _, end := range []string{".input.json", ".expected.json"} {
				f[r+end], f[s+end] = f[s+end], f[r+end]
			}
		}, r + ".input.json is not what", s + ".input.json is not what"},
		"by hand: no input":    {func(f map[string][]byte) { delete(f, r+".input.json") }, r + ".input.json is missing", r + ".input.json is missing"},
		"by hand: no decision": {func(f map[string][]byte) { delete(f, s+".expected.json") }, s + ".expected.json is missing", s + ".expected.json is missing"},
		"by hand: one more":    {func(f map[string][]byte) { f["replay/t.input.json"] = f[r+".input.json"] }, "replay/t.input.json is of no decision", "replay/t.input.json is of no decision"},
		"the part of another consumer": {func(f map[string][]byte) { f[town] = m.sealed[m.health] }, "",
			", the index names " + m.town},
		"a part with wider grants": {func(f map[string][]byte) { f[town] = m.sealed[m.widened] }, "", "content is " + m.widened + ", the index names " + m.town},
		"a part signed by another key": {func(f map[string][]byte) {
			f[town] = m.resealed(stranger)
			public, _ := stranger.Public()
			f[audit.BundleKeys] = public
		}, "", "part " + contract.GrantsShard("town") + " of the policy: "},
		"no part": {func(f map[string][]byte) { delete(f, town) }, "", "part " + contract.GrantsShard("town") + " of the policy: "},
		"the bundle of another revision": {func(f map[string][]byte) { _, f[revision] = m.signed(m.signer, contract.Lease{}, m.widened) }, "",
			"revision " + m.policy.Revision + " of the policy: the lease is of "},
		"an index that was not signed": {func(f map[string][]byte) {
			_, f[revision] = m.signed(m.signer, contract.Lease{Revision: m.policy.Revision}, m.widened)
		}, "",
			"the lease is of " + m.policy.Revision + ", and the index of "},
		"a lease by another key": {func(f map[string][]byte) { _, f[revision] = m.signed(stranger, contract.Lease{}, m.town) }, "", "which is not trusted here"},
		"no lease":               {func(f map[string][]byte) { delete(f, revision) }, "", "revision " + m.policy.Revision + " of the policy: "},
		"lines of others": {func(f map[string][]byte) { replaced(t, f, audit.ExcerptFile, "uid-a6", "uid-a7") },
			`line 1 is of agreement "a6", and its UID uid-a6 is not in excerpt.json`, `line 1 is of agreement "a6", and its UID uid-a6 is not in excerpt.json`},
	} {
		files := maps.Clone(whole)
		x.change(files)
		verified, verify, replayed, replay := m.judge(opa, files)
		if (verified != ExitOK) != (x.verify != "") || !strings.Contains(verify, x.verify) {
			t.Errorf("%q: verify %d, want %q\n%s", name, verified, x.verify, verify)
		}
		if (replayed != ExitOK) != (x.replay != "") || !strings.Contains(replay, x.replay) {
			t.Errorf("%q: replay %d, want %q\n%s", name, replayed, x.replay, replay)
		}
		if name != "" && x.verify == "" && x.replay == "" {
			t.Errorf("%q: nobody finds it", name)
		}
	}
}

// resealed gives the grants to town, as they are, signed by another key.
func (m *mutable) resealed(by *seal.Signer) []byte {
	m.t.Helper()
	public, err := m.signer.Public()
	if err != nil {
		m.t.Fatal(err)
	}
	trust, err := seal.NewTrust(public)
	if err != nil {
		m.t.Fatal(err)
	}
	s, err := trust.Shard(m.sealed[m.town], contract.ShardRef{Name: contract.GrantsShard("town"), Digest: m.town})
	if err != nil {
		m.t.Fatal(err)
	}
	raw, err := by.Shard(s)
	if err != nil {
		m.t.Fatal(err)
	}
	return raw
}
