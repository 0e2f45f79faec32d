package cli

import (
	"bytes"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/dizuo/dizuo/internal/contract"
	"github.com/dizuo/dizuo/internal/contract/decisionlog"
	"github.com/dizuo/dizuo/policies"
	"github.com/dizuo/dizuo/test/pki"
)

// replay exports all of agreement a6 and replays it with the keys of a file.
func (l *audited) replay(opa, keys string) (int, string) {
	l.t.Helper()
	file := l.path("replay.tar.gz")
	_ = os.Remove(file)
	if code, out := l.run("export", "--agreement", "a6", "--from", "2026-03-01T08:00:00Z", "--to", "2026-03-02T09:00:00Z", "--log", l.log, "--bundle-keys", l.path("bundle.pub"), "--out", file); code != ExitOK {
		l.t.Fatalf("export: %d\n%s", code, out)
	}
	return l.run("replay", file, "--opa", opa, "--bundle-keys", keys)
}

// TestReplayTrustsNothingOfTheArchive: what is signed by others, names other parts, or lies elsewhere than it says cannot be made again.
func TestReplayTrustsNothingOfTheArchive(t *testing.T) {
	opa := stockOPA(t)
	reads := func(text string) map[string]string {
		modules := maps.Clone(policies.Access())
		modules["access/more.rego"] = "package dizuo.access\n\nmore := " + text + "\n"
		return modules
	}
	for name, x := range map[string]struct {
		modules map[string]string
		change  func(*contract.Lease, *contract.Index)
		uid     string
		theirs  bool // the archive has the key that signed, the auditor another
		says    string
	}{
		"":                       {says: "1 decisions are the same, 0 refused by the gateway beside the policy, 0 refused without saying so, 0 differ, 0 cannot"},
		"signed by another":      {theirs: true, says: "which is not trusted here"},
		"lease of another":       {change: func(l *contract.Lease, _ *contract.Index) { l.Revision = "sha256:x" }, says: "the lease is of sha256:x"},
		"index without the part": {change: func(_ *contract.Lease, x *contract.Index) { x.Shards = nil }, says: "and the index of"},
		"of another platform":    {change: func(l *contract.Lease, _ *contract.Index) { l.Platform = "ns/hubei" }, says: `of platform "ns/hubei", the log of "ns/henan"`},
		"signed afterwards":      {change: func(l *contract.Lease, _ *contract.Index) { l.IssuedAt = l.IssuedAt.AddDate(0, 0, 1) }, says: "after the decision"},
		"a later number":         {change: func(l *contract.Lease, _ *contract.Index) { l.Sequence = 9 }, says: "first signed as number 9"},
		"filed under another":    {uid: "uid-x", says: `has UID uid-a6 by the signed policy, and the line is filed under "uid-x"`},
		"the network":            {modules: reads(`http.send({"method": "GET", "url": "http://127.0.0.1:1"})`), says: "undefined function http.send"},
		"the environment":        {modules: reads("opa.runtime()"), says: "undefined function opa.runtime"},
		"the time":               {modules: reads("time.now_ns()"), says: "undefined function time.now_ns"},
		"another text":           {modules: reads("1"), says: "is another text than that of this program"},
	} {
		l := newAudited(t)
		if x.modules == nil {
			x.modules = policies.Access()
		}
		l.seal(x.modules, x.change)
		keys := l.path("bundle.pub")
		if x.theirs {
			public, err := pki.Signer(t).Public()
			if err != nil {
				t.Fatal(err)
			}
			keys = l.write("mine.pub", public)
		}
		uid := "uid-a6"
		if x.uid != "" {
			uid = x.uid
		}
		d := contract.Decision{Allow: true, Fields: map[string]contract.Mask{"level": {}}, Rows: &l.rows, Agreement: "a6"}
		l.append(decisionlog.Record{At: l.at, Kind: contract.LogDecision, Request: "r", UID: uid, LogBody: contract.LogBody{Salt: "0f", Policy: &l.policy, Decision: &d, Generation: 3, Digest: "sha256:aa",
			Input: &contract.DecisionInput{Contract: contract.ContractVersion, Dataset: "elders", Consumer: "town", Agreement: "a6", Purpose: "HomeVisits", Now: l.at.Unix()}}})
		l.checkpoint()
		want := ExitFailed
		if name == "" || name == "another text" {
			want = ExitOK
		}
		if code, out := l.replay(opa, keys); code != want || !strings.Contains(out, x.says) {
			t.Errorf("%q: %d, want %d and %q\n%s", name, code, want, x.says, out)
		}
	}
}

// TestReplayCountsAndNames: refusals beside the policy are told apart, by those that say so and those that do not; what has no record, no
// policy or no decision is named, and panics nobody.
func TestReplayCountsAndNames(t *testing.T) {
	opa := stockOPA(t)
	l := newAudited(t)
	allowed := contract.Decision{Allow: true, Fields: map[string]contract.Mask{"level": {}}, Rows: &l.rows}
	l.decide("a6", "HomeVisits", allowed)
	l.decide("a6", "HomeVisits", contract.Decision{Reasons: []string{"QuotaExceeded"}, By: contract.DecidedByGateway})
	l.decide("a6", "HomeVisits", contract.Decision{Reasons: []string{"CaseUnavailable"}}) // of a gateway before it said so
	l.decide("a7", "HomeVisits", contract.Decision{Reasons: []string{"NoAgreement"}})
	if code, out := l.replay(opa, l.path("bundle.pub")); code != ExitOK || !strings.Contains(out, "1 decided by the gateway: refused, QuotaExceeded") ||
		!strings.Contains(out, "line 3, request") || !strings.Contains(out, "1 decisions are of other agreements") ||
		!strings.Contains(out, "1 decisions are the same, 1 refused by the gateway beside the policy, 1 refused without saying so, 0 differ, 0 cannot be made again") {
		t.Errorf("%d\n%s", code, out)
	}
	gives := allowed
	gives.By = contract.DecidedByGateway
	l.decide("a6", "Billing", gives) // line 5
	bare := func(b contract.LogBody) {
		b.Salt = "0f"
		l.append(decisionlog.Record{At: l.at, Kind: contract.LogDecision, Request: "bare", UID: "uid-a6", LogBody: b})
	}
	in := &contract.DecisionInput{Dataset: "elders", Consumer: "town", Agreement: "a6"}
	bare(contract.LogBody{Input: in, Decision: &allowed}) // no policy
	bare(contract.LogBody{Input: in, Policy: &l.policy})  // no decision
	bare(contract.LogBody{})
	code, out := l.replay(opa, l.path("bundle.pub"))
	if code != ExitFailed || !strings.Contains(out, "line 6, chain gateway-0.0a line 7, chain gateway-0.0a line 8") || !strings.Contains(out, `the decision is by "gateway", and does not refuse`) ||
		!strings.Contains(out, "4 cannot be made again") {
		t.Errorf("%d\n%s", code, out)
	}
	// Without its record.
	name := filepath.Join(l.log, decisionlog.FileName(1))
	raw, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	first, rest, _ := bytes.Cut(raw, []byte{'\n'})
	line, err := decisionlog.Parse(first)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, append(append(decisionlog.Join(line.Header, nil), '\n'), rest...), 0o600); err != nil {
		t.Fatal(err)
	}
	if code, out := l.replay(opa, l.path("bundle.pub")); code != ExitFailed || !strings.Contains(out, "1 decisions cannot be made again (chain gateway-0.0a line 1): the record is not here") {
		t.Errorf("%d\n%s", code, out)
	}
}
