package gateway

import (
	"bytes"
	"context"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/types" //nolint:depguard // the server that a stock opa asks is the operator's

	"github.com/dizuo/dizuo/internal/bundle"
	"github.com/dizuo/dizuo/internal/bundleserver"
	"github.com/dizuo/dizuo/internal/contract"
	"github.com/dizuo/dizuo/internal/contract/seal"
	"github.com/dizuo/dizuo/policies"
	"github.com/dizuo/dizuo/test/pki"
)

// stockOPA gives the opa of the kit.
func stockOPA(t *testing.T) string {
	t.Helper()
	if path, err := exec.LookPath("opa"); err == nil {
		return path
	}
	if home, err := os.UserHomeDir(); err == nil {
		if path := filepath.Join(home, ".cache", "dizuo", "bin", "opa"); exec.Command(path, "version").Run() == nil {
			return path
		}
	}
	t.Skip("NOT TESTED: no opa here; `go run ./hack/cluster build opa` builds it")
	return ""
}

type bearer string

func (b bearer) MayRead(_ context.Context, token string, platform types.NamespacedName) (bool, error) {
	return token == string(b) && platform.Name == "henan", nil
}

// partsOf gives an access document as the operator has it.
func partsOf(a contract.Access) bundle.Parts {
	p := bundle.NewParts()
	p.Datasets, p.Modules = a.Datasets, policies.Access()
	for dataset, consumers := range a.Grants {
		for consumer, agreements := range consumers {
			for name, g := range agreements {
				id := fmt.Sprint(dataset, consumer, name)
				p.Granted.Put(id, name, id, bundle.Agreement{Consumer: consumer, Grants: map[string]contract.Grant{dataset: g}})
			}
		}
	}
	return p
}

func offer(t *testing.T, version string, a contract.Access, s *seal.Signer) bundleserver.Offer {
	t.Helper()
	keys, err := s.Public()
	if err != nil {
		t.Fatal(err)
	}
	return bundleserver.Offer{Version: version, Keys: keys, Policy: func() ([]byte, error) {
		sh, err := bundle.Policy(partsOf(a))
		if err != nil {
			return nil, err
		}
		return s.Shard(sh)
	}}
}

// TestStockOPADecidesAlike runs an opa server that pulls the served bundle by its bundle plugin, verifies it, and is asked the same
// questions as the gateway; then a revocation is pulled, one of a stranger's signature is not, and what was pulled stays.
func TestStockOPADecidesAlike(t *testing.T) {
	opa := stockOPA(t)
	signer, stranger := pki.Signer(t), pki.Signer(t)
	r := rand.New(rand.NewPCG(7, 8))
	a := randomAccess(r, "x")
	server := &bundleserver.Server{Authorizer: bearer("t0ken")}
	henan := types.NamespacedName{Namespace: "dizuo-henan", Name: "henan"}
	server.Set(henan, offer(t, "one", a, signer))
	var unchanged, sent atomic.Int64
	web := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		seen := &statusWriter{ResponseWriter: w, status: http.StatusOK}
		server.Handler().ServeHTTP(seen, r)
		switch seen.status {
		case http.StatusNotModified:
			unchanged.Add(1)
		case http.StatusOK:
			sent.Add(1)
		}
	}))
	defer web.Close()
	address := runOPA(t, opa, web, signer)
	ask := func(in contract.DecisionInput) contract.Decision {
		raw, _ := json.Marshal(map[string]any{"input": in})
		resp, err := http.Post(address+"/v1/data/dizuo/access/decision", "application/json", bytes.NewReader(raw))
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = resp.Body.Close() }()
		var out struct{ Result any }
		decoder := json.NewDecoder(resp.Body)
		decoder.UseNumber() // as the library gives numbers
		if err := decoder.Decode(&out); err != nil {
			t.Fatal(err)
		}
		d, err := decisionOf(out.Result)
		if err != nil {
			t.Fatalf("%v: %v", out.Result, err)
		}
		return d
	}
	var opened contract.DecisionInput // one that was allowed
	agree := func(a contract.Access) (allowed int) {
		p := policyOf(t, a)
		for range 500 {
			in := fitting(r, a, factsOf(r, randomInput(r)))
			want, _, err := p.decide(t.Context(), in)
			if err != nil {
				t.Fatal(err)
			}
			want.Rows = nil
			if diff := cmp.Diff(want, ask(in)); diff != "" {
				t.Fatalf("%+v: -gateway +opa %s", in, diff)
			}
			if want.Allow {
				opened, allowed = in, allowed+1
			}
		}
		return allowed
	}
	if n := agree(a); n == 0 {
		t.Error("nothing was allowed: the test proves little")
	}
	await(t, "an answer that nothing changed", func() bool { return unchanged.Load() > 0 })
	server.Set(henan, offer(t, "two", contract.Access{Datasets: a.Datasets}, signer))
	await(t, "the revocation", func() bool { return !ask(opened).Allow })
	none := contract.Access{Datasets: a.Datasets}
	agree(none)
	before := sent.Load()
	server.Set(henan, offer(t, "three", a, stranger))
	await(t, "the stranger's bundle was fetched twice", func() bool { return sent.Load() >= before+2 })
	if n := agree(none); n != 0 {
		t.Errorf("a bundle that a stranger signed opened %d reads", n)
	}
}

func runOPA(t *testing.T, opa string, web *httptest.Server, signer *seal.Signer) string {
	t.Helper()
	dir, public := t.TempDir(), must(signer.Public())(t)
	ca := filepath.Join(dir, "ca.pem")
	if err := os.WriteFile(ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: web.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	config, _ := json.Marshal(map[string]any{
		"services": map[string]any{"dizuo": map[string]any{
			"url": web.URL + "/v1/platforms/dizuo-henan/henan", "tls": map[string]any{"ca_cert": ca}, "credentials": map[string]any{"bearer": map[string]any{"token": "t0ken"}},
		}},
		"bundles": map[string]any{"dizuo": map[string]any{
			"service": "dizuo", "resource": "bundles/policy.tar.gz", "signing": map[string]any{}, "polling": map[string]any{"min_delay_seconds": 1, "max_delay_seconds": 1},
		}},
		"keys": map[string]any{signer.KeyID: map[string]any{"algorithm": "ES256", "key": string(public)}},
	})
	file := filepath.Join(dir, "opa.json")
	if err := os.WriteFile(file, config, 0o600); err != nil {
		t.Fatal(err)
	}
	address := fmt.Sprintf("127.0.0.1:%d", freePort(t))
	var said bytes.Buffer
	cmd := exec.CommandContext(t.Context(), opa, "run", "--server", "--addr", address, "--config-file", file, "--disable-telemetry", "--log-level", "error")
	cmd.Stdout, cmd.Stderr = &said, &said
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if t.Failed() {
			t.Log(said.String())
		}
	})
	await(t, "opa activates the bundle", func() bool {
		resp, err := http.Get("http://" + address + "/health?bundles")
		if err != nil {
			return false
		}
		_, _ = io.Copy(io.Discard, resp.Body)
		_ = resp.Body.Close()
		return resp.StatusCode == http.StatusOK
	})
	return "http://" + address
}

func must[V any](v V, err error) func(*testing.T) V {
	return func(t *testing.T) V {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func await(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); !holds(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited too long for %s", what)
		}
	}
}

// TestStockOPAVerifies lets the command line take the bundle with our key and refuse it with another.
func TestStockOPAVerifies(t *testing.T) {
	opa := stockOPA(t)
	signer, stranger := pki.Signer(t), pki.Signer(t)
	r := rand.New(rand.NewPCG(9, 10))
	a := randomAccess(r, "x")
	raw := must(offer(t, "one", a, signer).Policy())(t)
	dir := t.TempDir()
	file := filepath.Join(dir, "policy.tar.gz")
	in := fitting(r, a, factsOf(r, randomInput(r)))
	input := must(json.Marshal(in))(t)
	for name, content := range map[string][]byte{"policy.tar.gz": raw, "ours.pem": must(signer.Public())(t), "theirs.pem": must(stranger.Public())(t), "input.json": input} {
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	// eval itself takes no key: build verifies, and gives a bundle that eval reads.
	eval := func(key string) ([]byte, error) {
		verified := filepath.Join(dir, "verified-"+key+".tar.gz")
		if out, err := exec.Command(opa, "build", "--bundle", file, "--verification-key", filepath.Join(dir, key), "--signing-alg", "ES256",
			"--verification-key-id", signer.KeyID, "--output", verified).CombinedOutput(); err != nil {
			return out, err
		}
		return exec.Command(opa, "eval", "--bundle", verified, "--input", filepath.Join(dir, "input.json"), "--format", "raw", policies.AccessEntrypoint).CombinedOutput()
	}
	out, err := eval("ours.pem")
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	var answer any
	decoder := json.NewDecoder(bytes.NewReader(out))
	decoder.UseNumber()
	if err := decoder.Decode(&answer); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	want, _, err := policyOf(t, a).decide(t.Context(), in)
	if err != nil {
		t.Fatal(err)
	}
	want.Rows = nil
	if diff := cmp.Diff(want, must(decisionOf(answer))(t)); diff != "" {
		t.Error(diff)
	}
	if out, err := eval("theirs.pem"); err == nil {
		t.Errorf("opa took a bundle with a key that did not sign it: %s", out)
	}
}
