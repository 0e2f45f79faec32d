package vault

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/time/rate"

	"github.com/dizuo/dizuo/internal/cli"
	"github.com/dizuo/dizuo/internal/contract"
)

// linkCommand runs `dizuo subject link` for the provider of the dataset clinic, over TLS.
func (w *world) linkCommand(role string) func(file string) (code int, out, errs string) {
	t := w.t
	server, dir := httptest.NewTLSServer(w.s.handler()), t.TempDir()
	t.Cleanup(server.Close)
	key, err := x509.MarshalPKCS8PrivateKey(w.certs["health"].PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	for name, block := range map[string]*pem.Block{"ca.crt": {Type: "CERTIFICATE", Bytes: server.Certificate().Raw}, "key.pem": {Type: "PRIVATE KEY", Bytes: key}, "tls.crt": {Type: "CERTIFICATE", Bytes: w.certs["health"].Certificate[0]}} {
		if err := os.WriteFile(filepath.Join(dir, name), pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return func(file string) (int, string, string) {
		var out, errs bytes.Buffer
		code := cli.Main(t.Context(), []string{
			"subject", "link", "-", "--dataset", "clinic", "--server", server.URL, "--ca", filepath.Join(dir, "ca.crt"), "--platform", "dizuo-henan/henan", "--organization", "health", "--subject", "p-3",
			"--role", role, "--cert", filepath.Join(dir, "tls.crt"), "--key", filepath.Join(dir, "key.pem"),
		}, cli.Streams{In: strings.NewReader(file), Out: &out, Err: &errs})
		return code, out.String(), errs.String()
	}
}

// TestLinkCommand: the command's calls are such as the vault takes; run again it changes nothing, and links who has registered since.
func TestLinkCommand(t *testing.T) {
	w := newWorld(t)
	father, run := w.person("father"), w.linkCommand(RoleSteward)
	subject := func(key string) string {
		out, err := w.mapping().subjects(t.Context(), contract.MapRequest{Dataset: "clinic", Keys: []string{key}}, "health")
		if err != nil {
			t.Fatal(err)
		}
		return out[0]
	}
	var file strings.Builder
	wide := strings.Repeat("长", contract.MaxIdentityKey-3)
	fmt.Fprintf(&file, "key,person,source,subject\np1,father,resident-id,\np2,,,%s\np3,mother,resident-id,\np4,,,\n", father)
	for i := range 296 {
		fmt.Fprintf(&file, "%s%03d,%s%03d,resident-id,\n", wide, i, wide, i)
	}
	for range 2 { // again is the same
		code, out, errs := run(file.String())
		if code != cli.ExitOK || out != "clinic: 300 keys said in 8 calls, 1 of them for nobody\n" || !strings.Contains(errs, "run this again") {
			t.Fatalf("exit code %d: %s%s", code, out, errs)
		}
		for key, want := range map[string]string{"p1": father, "p2": father, "p3": "", "p4": ""} {
			if got := subject(key); got != want {
				t.Errorf("%s: %q, want %q", key, got, want)
			}
		}
	}
	mother := w.person("mother")
	// Another run has taken all but 10 of the allowance: the command waits, and goes on.
	busy := rate.NewLimiter(1000, 400)
	busy.AllowN(time.Now(), 390)
	w.s.links.Store("health", busy)
	if code, out, errs := run(file.String()); code != cli.ExitOK || subject("p3") != mother {
		t.Errorf("who registered later: exit code %d, %q: %s%s", code, subject("p3"), out, errs)
	}
	// What the vault alone can tell is said by line, without the person.
	file.WriteString("p5,number-5,elder-visits,\n")
	if code, _, errs := run(file.String()); code != cli.ExitFailed || !strings.Contains(errs, "to 302: 422") || !strings.Contains(errs, "write a register such as resident-id") || strings.Contains(errs, "number-5") {
		t.Errorf("a dataset for a register: exit code %d: %s", code, errs)
	}
	if code, _, errs := w.linkCommand("Doctor")("key,subject\np1,\n"); code != cli.ExitDenied || subject("p1") != father {
		t.Errorf("a doctor: exit code %d: %s", code, errs)
	}
	w.verifyChain()
}
