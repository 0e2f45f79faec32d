package cli

import (
	"bytes"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
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

// audited is a gateway's log on a disk with what belongs to it, and a witness that is served.
type audited struct {
	t                                *testing.T
	dir, log, auditKeys, witnessKeys string
	witness                          string
	end                              decisionlog.Chain
	at                               time.Time
	checkpoint                       func()
	policy                           contract.PolicyRef
	rows                             contract.Rows
	// signer signs policy.
	signer *seal.Signer
}

func (l *audited) path(name string) string { return filepath.Join(l.dir, name) }

func (l *audited) write(name string, data []byte) string {
	l.t.Helper()
	path := l.path(name)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		l.t.Fatal(err)
	}
	if err := os.WriteFile(path, data, 0o600); err != nil {
		l.t.Fatal(err)
	}
	return path
}

func newAudited(t *testing.T) *audited {
	t.Helper()
	l := &audited{t: t, dir: t.TempDir(), end: decisionlog.Chain{Instance: "gateway-0.0a"}, at: time.Date(2026, 3, 1, 9, 0, 0, 0, time.UTC)}
	l.log = l.path("log")
	signer := func(name string) (public string) {
		if code := Main(t.Context(), []string{"key", "new", "--out", l.path(name)}, Streams{In: &bytes.Buffer{}, Out: &bytes.Buffer{}, Err: os.Stderr}); code != ExitOK {
			t.Fatal("key new")
		}
		k, err := readKey(l.path(name))
		if err != nil {
			t.Fatal(err)
		}
		der, err := x509.MarshalPKIXPublicKey(k.Public())
		if err != nil {
			t.Fatal(err)
		}
		return l.write(name+".pub", pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))
	}
	l.auditKeys = signer("audit.pem")
	signer("witness.pem")
	var public bytes.Buffer // as the CLI prints it
	if code := Main(t.Context(), []string{"key", "public", "--key", l.path("witness.pem")}, Streams{In: &bytes.Buffer{}, Out: &public, Err: os.Stderr}); code != ExitOK {
		t.Fatal("key public")
	}
	l.witnessKeys = l.write("witness.pub", public.Bytes())
	gateway, err := readKey(l.path("audit.pem"))
	if err != nil {
		t.Fatal(err)
	}
	witnessKey, err := readKey(l.path("witness.pem"))
	if err != nil {
		t.Fatal(err)
	}
	w := &audit.Witness{Name: "court", Key: witnessKey, Dir: l.path("witness"), Now: func() time.Time { return l.at }, Trust: func() (audit.Keys, error) { return readPublicKeys(l.auditKeys) }}
	if err := w.Load(); err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(w)
	t.Cleanup(server.Close)
	l.witness = server.URL
	l.checkpoint = func() {
		t.Helper()
		jws, err := audit.Sign(gateway, contract.CheckpointType, contract.Checkpoint{Format: contract.CheckpointFormat, Platform: "ns/henan", Instance: l.end.Instance, Sequence: l.end.Sequence, Hash: l.end.Hash, At: l.at})
		if err != nil {
			t.Fatal(err)
		}
		if err := audit.Append(filepath.Join(l.log, audit.MarksFile), audit.Mark{Checkpoint: jws}.Line()); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Take(jws); err != nil {
			t.Fatal(err)
		}
	}
	l.signer = pki.Signer(t)
	l.seal(policies.Access(), nil)
	return l
}

// seal keeps the signed part of a bundle with one agreement, and the lease of its revision, beside the log. change may alter them.
func (l *audited) seal(modules map[string]string, change func(*contract.Lease, *contract.Index)) {
	l.t.Helper()
	l.rows = contract.Rows{Divisions: []string{"410702"}}
	access := contract.Access{
		Datasets: map[string]contract.Dataset{"elders": {Provider: "civil-affairs", Sharing: "Conditional", Category: "Ordinary",
			Fields: map[string]contract.DatasetField{"level": {Type: "Integer", Column: "level", Grade: "General3", Personal: "None"}}}},
		Grants: map[string]map[string]map[string]contract.Grant{"elders": {"town": {"a6": {UID: "uid-a6", Generation: 3, Digest: "sha256:aa",
			Fields: map[string]contract.Mask{"level": {}}, Rows: l.rows, Purposes: []string{"HomeVisits"}}}}},
	}
	raw, err := json.Marshal(access)
	if err != nil {
		l.t.Fatal(err)
	}
	var data map[string]any
	if err := json.Unmarshal(raw, &data); err != nil {
		l.t.Fatal(err)
	}
	shard, err := seal.Normalize(contract.Shard{Name: contract.ShardAccess, Roots: []string{"dizuo/access", "dizuo/datasets", "dizuo/grants"},
		Data: map[string]any{"dizuo": data}, Modules: modules})
	if err != nil {
		l.t.Fatal(err)
	}
	sealed, err := l.signer.Shard(shard)
	if err != nil {
		l.t.Fatal(err)
	}
	digest, err := shard.ContentDigest()
	if err != nil {
		l.t.Fatal(err)
	}
	public, err := l.signer.Public()
	if err != nil {
		l.t.Fatal(err)
	}
	l.write("bundle.pub", public)
	l.write("log/policy/"+audit.PartName(digest), sealed)
	index := contract.Index{Shards: []contract.ShardRef{{Name: contract.ShardAccess, Digest: digest}}}
	lease := contract.Lease{Platform: "ns/henan", Scope: contract.ScopeCenter, Revision: index.Revision(), Sequence: 7, IssuedAt: l.at, ExpiresAt: l.at.Add(time.Hour)}
	l.policy = contract.PolicyRef{Revision: lease.Revision, Sequence: 8, Access: digest}
	if change != nil {
		change(&lease, &index)
	}
	signed, err := l.signer.Lease(lease)
	if err != nil {
		l.t.Fatal(err)
	}
	if raw, err = json.Marshal(audit.Revision{Lease: signed, Index: index}); err != nil {
		l.t.Fatal(err)
	}
	l.write("log/policy/"+audit.RevisionName(l.policy.Revision), raw)
}

// decide logs a decision of an agreement, an hour after the one before.
func (l *audited) decide(agreement, purpose string, d contract.Decision) {
	l.t.Helper()
	l.at = l.at.Add(time.Hour)
	d.Agreement = agreement
	l.append(decisionlog.Record{At: l.at, Kind: contract.LogDecision, Request: l.at.Format("r-15"), UID: "uid-" + agreement, LogBody: contract.LogBody{Salt: "0f",
		Input:    &contract.DecisionInput{Contract: contract.ContractVersion, Dataset: "elders", Consumer: "town", Agreement: agreement, Purpose: purpose, Now: l.at.Unix()},
		Decision: &d, Generation: 3, Digest: "sha256:aa", Policy: &l.policy}})
}

func (l *audited) append(r decisionlog.Record) {
	l.t.Helper()
	line, err := l.end.Next(r)
	if err != nil {
		l.t.Fatal(err)
	}
	if err := audit.Append(filepath.Join(l.log, decisionlog.FileName(1)), line); err != nil {
		l.t.Fatal(err)
	}
}

func (l *audited) run(args ...string) (int, string) {
	var out bytes.Buffer
	code := Main(l.t.Context(), append([]string{"audit"}, args...), Streams{In: &bytes.Buffer{}, Out: &out, Err: &out})
	return code, out.String()
}

// stockOPA gives the opa of the kit.
func stockOPA(t *testing.T) string {
	t.Helper()
	opa, err := exec.LookPath("opa")
	if err != nil {
		t.Skip("NOT TESTED: no opa on the path: see hack/tools")
	}
	return opa
}

// TestAuditFromLogToReplay goes the auditor's way: verify the log, take an archive, verify it, have stock opa decide again; and finds a
// decision that the policy does not make.
func TestAuditFromLogToReplay(t *testing.T) {
	opa := stockOPA(t)
	l := newAudited(t)
	allowed := contract.Decision{Allow: true, Fields: map[string]contract.Mask{"level": {}}, Rows: &l.rows}
	l.decide("other", "HomeVisits", contract.Decision{Reasons: []string{"NoAgreement"}})
	l.checkpoint()
	l.decide("a6", "HomeVisits", allowed)
	l.decide("other", "HomeVisits", contract.Decision{Reasons: []string{"NoAgreement"}})
	l.decide("a6", "Billing", contract.Decision{Reasons: []string{"PurposeNotAllowed"}})
	l.checkpoint()
	trust := []string{"--witness", l.witness, "--witness-key", l.witnessKeys, "--trust", l.auditKeys}
	if code, out := l.run(append([]string{"verify", l.log}, trust...)...); code != ExitOK || !strings.Contains(out, "VERIFIED") {
		t.Fatalf("verify: %d\n%s", code, out)
	}
	if code, out := l.run("verify", l.log, "--trust", l.auditKeys); code != ExitConsistentOnly {
		t.Errorf("verify without a witness: %d\n%s", code, out)
	}
	export := func(name string) string {
		file := l.path(name)
		code, out := l.run("export", "--agreement", "a6", "--from", "2026-03-01T10:00:00Z", "--to", "2026-03-01T13:00:00Z", "--log", l.log, "--bundle-keys", l.path("bundle.pub"), "--out", file)
		if code != ExitOK {
			t.Fatalf("export: %d\n%s", code, out)
		}
		return file
	}
	file, again := export("a.tar.gz"), export("b.tar.gz")
	a, _ := os.ReadFile(file)
	if b, _ := os.ReadFile(again); !bytes.Equal(a, b) {
		t.Error("the same export gives other bytes")
	}
	code, out := l.run(append([]string{"verify", file}, trust...)...)
	if code != ExitOK || !strings.Contains(out, "lines 2 to 4") {
		t.Errorf("verify the archive: %d\n%s", code, out)
	}
	if code, out := l.run("replay", file, "--opa", opa, "--bundle-keys", l.path("bundle.pub")); code != ExitOK || !strings.Contains(out, "2 decisions are the same") {
		t.Errorf("replay: %d\n%s", code, out)
	}
	if code, out := l.run("replay", file, "--opa", opa); code != ExitUsage || !strings.Contains(out, "publication") {
		t.Errorf("replay without keys: %d\n%s", code, out)
	}
	if code, out := l.run(append([]string{"verify", file, "--uid", "uid-a6"}, trust...)...); code != ExitOK || !strings.Contains(out, "of UIDs uid-a6\n") || !strings.Contains(out, "of 2 lines of the agreement 0 are absent; those of the 1 other lines") {
		t.Errorf("verify the archive of a UID: %d\n%s", code, out)
	}
	if code, out := l.run(append([]string{"verify", file, "--uid", "uid-x"}, trust...)...); code != ExitFailed || !strings.Contains(out, "the agreement has uid-x") {
		t.Errorf("verify the archive of another UID: %d\n%s", code, out)
	}
	l.at = l.at.Add(-time.Minute)
	l.decide("a6", "Billing", allowed) // a gateway that cheats
	l.checkpoint()
	code, out = l.run("export", "--agreement", "a6", "--from", "2026-03-01T10:00:00Z", "--to", "2026-03-01T13:30:00Z", "--log", l.log, "--bundle-keys", l.path("bundle.pub"), "--out", l.path("c.tar.gz"))
	if code != ExitOK {
		t.Fatal(out)
	}
	if code, out := l.run("replay", l.path("c.tar.gz"), "--opa", opa, "--bundle-keys", l.path("bundle.pub")); code != ExitFailed || !strings.Contains(out, "line 5") {
		t.Errorf("a decision that the policy does not make: %d\n%s", code, out)
	}
}

// TestExportTakesNothingFromElsewhere: who can write into a log puts a link to a file of whoever exports it there.
func TestExportTakesNothingFromElsewhere(t *testing.T) {
	l := newAudited(t)
	l.decide("a6", "HomeVisits", contract.Decision{Allow: true, Fields: map[string]contract.Mask{"level": {}}, Rows: &l.rows})
	l.checkpoint()
	part, secret := l.path("log/policy/"+audit.PartName(l.policy.Access)), l.write("kubeconfig", []byte("secret"))
	if err := errors.Join(os.Remove(part), os.Symlink(secret, part)); err != nil {
		t.Fatal(err)
	}
	file := l.path("a.tar.gz")
	code, out := l.run("export", "--agreement", "a6", "--from", "2026-03-01T09:00:00Z", "--to", "2026-03-01T11:00:00Z", "--log", l.log, "--out", file)
	if _, err := os.Stat(file); code == ExitOK || !strings.Contains(out, "escapes") || !errors.Is(err, os.ErrNotExist) {
		t.Errorf("export: %d, %v\n%s", code, err, out)
	}
}

// TestAuditFindsChangedArchives changes bytes of an archive: each is found, or nothing that was unpacked is another.
func TestAuditFindsChangedArchives(t *testing.T) {
	l := newAudited(t)
	l.decide("a6", "HomeVisits", contract.Decision{Reasons: []string{"PolicyError"}})
	l.checkpoint()
	file := l.path("a.tar.gz")
	if code, out := l.run("export", "--agreement", "a6", "--from", "2026-03-01T09:00:00Z", "--to", "2026-03-01T10:00:00Z", "--log", l.log, "--out", file); code != ExitOK {
		t.Fatal(out)
	}
	raw, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for at := 0; at < len(raw); at += 1 + len(raw)/200 {
		changed := bytes.Clone(raw)
		changed[at] ^= 0x10
		dir := t.TempDir()
		if err := audit.Extract(bytes.NewReader(changed), dir); err != nil {
			continue
		}
		same := t.TempDir()
		if err := audit.Extract(bytes.NewReader(raw), same); err != nil {
			t.Fatal(err)
		}
		if a, b := contents(t, dir), contents(t, same); a != b {
			t.Fatalf("byte %d changed: not found", at)
		}
	}
}

func contents(t *testing.T, dir string) string {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join(dir, audit.ManifestFile))
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
}
