package vault

import (
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/uuid"

	"github.com/dizuo/dizuo/internal/contract"
)

// TestGuide runs every command of docs/guides/residents-rights.md as it is written, with the command line that is built and the vault over a
// real PostgreSQL.
func TestGuide(t *testing.T) {
	if testing.Short() {
		t.Skip("builds the command line")
	}
	w, dir := newWorld(t), t.TempDir()
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-o", filepath.Join(dir, "dizuo"), "github.com/dizuo/dizuo/cmd/dizuo").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	write := func(name, kind string, der []byte) {
		if err := os.WriteFile(filepath.Join(dir, name), pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"committee", "civil-affairs", "office", "health"} {
		key, err := x509.MarshalPKCS8PrivateKey(w.certs[name].PrivateKey)
		if err != nil {
			t.Fatal(err)
		}
		write(name+".pem", "PRIVATE KEY", key)
		write(name+".crt", "CERTIFICATE", w.certs[name].Certificate[0])
		o := w.bundle.Directory.Organizations[name]
		o.KeyDigests = []string{contract.Digest(w.certs[name].Leaf.RawSubjectPublicKeyInfo)}
		w.bundle.Directory.Organizations[name] = o
	}
	w.bundle.Directory.Organizations["jinghu-committee"] = w.bundle.Directory.Organizations["committee"]
	server := httptest.NewTLSServer(w.s.handler())
	t.Cleanup(server.Close)
	write("ca.crt", "CERTIFICATE", server.Certificate().Raw)

	guide, err := os.ReadFile("../../../docs/guides/residents-rights.md")
	if err != nil {
		t.Fatal(err)
	}
	environment := append(os.Environ(), "PATH="+dir+":"+os.Getenv("PATH"), "S=--server "+server.URL+" --ca ca.crt --platform dizuo-henan/henan",
		"ME=--organization jinghu-committee --subject p-17 --role PrivacyOfficer --cert committee.crt --key committee.pem")
	one := func(query string) string {
		var id uuid.UUID
		if err := w.sql("", query, nil, &id); err != nil {
			t.Fatalf("%s: %v", query, err)
		}
		return id.String()
	}
	done := 0
	for line := range strings.Lines(string(guide)) {
		command, ok := strings.CutPrefix(strings.TrimSpace(line), "$ ")
		if !ok {
			continue
		}
		for place, query := range map[string]string{" CONSENT ": "SELECT id FROM grid.consents", " TASK ": "SELECT id FROM vault.tasks WHERE done_at IS NULL"} {
			if before, after, found := strings.Cut(command, place); found {
				command = before + " " + one(query) + " " + after
			}
		}
		// What a shell keeps from line to line is kept in a file.
		c := exec.CommandContext(t.Context(), "bash", "-e", "-c", "set -o pipefail; touch vars; . ./vars\n"+command+"\ndeclare -p SON FATHER 2>/dev/null > vars || true")
		c.Dir, c.Env = dir, environment
		out, err := c.CombinedOutput()
		if err != nil {
			t.Fatalf("%s: %v\n%s", command, err, out)
		}
		t.Logf("$ %s\n%s", command, out)
		done++
	}
	if done < 15 {
		t.Errorf("%d commands, want those of the whole guide", done)
	}
	raw, err := os.ReadFile(filepath.Join(dir, "father.jws"))
	if err != nil {
		t.Fatal(err)
	}
	if e := w.receipt(strings.TrimSpace(string(raw))); e.Destroyed.Keys != 1 || len(e.Asked) == 0 {
		t.Errorf("receipt %+v", e)
	}
	var read, correction Answer
	for file, into := range map[string]*Answer{"read.jws": &read, "correction.jws": &correction} {
		raw, err := os.ReadFile(filepath.Join(dir, file))
		if err != nil {
			t.Fatal(err)
		}
		w.signed(strings.TrimSpace(string(raw)), contract.AnswerType, into)
	}
	if read.Access == nil || len(read.Access.Reads) == 0 || correction.Correction == nil || strings.Contains(fmt.Sprint(correction), "13800000001") {
		t.Errorf("receipts %+v, %+v", read, correction)
	}
	w.verifyChain()
	log, err := os.ReadFile(filepath.Join(dir, "vault-log", "decisions-0000000000000001.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	for n, line := range strings.Split(strings.TrimSpace(string(log)), "\n") {
		var l contract.LogLine
		if err := json.Unmarshal([]byte(line), &l); err != nil || l.Sequence != int64(n+1) || contract.Digest(l.Record) != l.Body {
			t.Errorf("line %d taken out: %v: %s", n+1, err, line)
		}
	}
}
