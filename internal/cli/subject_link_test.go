package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/time/rate"

	"github.com/dizuo/dizuo/internal/contract"
	"github.com/dizuo/dizuo/internal/node/person"
)

// What is wrong in a file is said by line, with what to write instead, and no cell is repeated.
func TestLinkFiles(t *testing.T) {
	long := strings.Repeat("长", 256)
	for _, c := range []struct{ what, file, source, want string }{
		{"as it is to be", "key,person,source,subject\nk1,4107-x,resident-id,\nk2,,,abc_1\nk3,,,\n", "", ""},
		{"source by flag, mark of Excel, columns in another order, CRLF", "\ufeffperson,key\r\n4107-x,\"k,\n1\"\r\n,k2\r\n", "resident-id", ""},
		{"# begins a key like any other", "key,person\n#1,4107-x\n", "resident-id", ""},
		{"the longest", "key,person\n" + long + "," + long + "\n", "resident-id", ""},
		{"doubles", "key,person,source\nk1,4107-a,resident-id\n\"k\n2\",4107-b,resident-id\nk1,4107-c,resident-id\nk1,4107-a,resident-id\n", "",
			"line 5: the same key as on line 2: keep the line that is right\nline 6: the same key as on line 2: keep the line that is right"},
		{"no header", "k1,4107-x,resident-id\n", "", "line 1: column 1 has none of the names key, person, source and subject, or one again: write a header such as key,person,source"},
		{"a column twice", "key,person,key\n", "resident-id", "line 1: column 3 has none of the names key, person, source and subject, or one again: write a header such as key,person,source"},
		{"empty", "", "", "no header line: write one, such as key,person,source"},
		{"no key", "person,source\n", "", "line 1: no column key: write a header such as key,person,source"},
		{"nobody named", "key\nk1\n", "", "line 1: neither a column person nor a column subject: write a header such as key,person,source"},
		{"source twice", "key,person,source\n", "resident-id", "line 1: a column source, and --source: give one of them"},
		{"no source", "key,person\n", "", "line 1: a column person and no column source: add it, or --source for the whole file, such as --source resident-id"},
		{"cells", "key,person,source,subject\n,4107-x,resident-id,\nk1,4107-x,,\nk2,,resident-id,\nk3,4107-x,Resident Id,\nk4,4107-x,resident-id,s1\nk5,,,4107 x\n" + long + "x,4107-x,resident-id,\nk6," + long + "x,resident-id,\nk7,4107-x\xd5\xc5,resident-id,\n", "",
			"line 2: no key: write what stands in the dataset's subjectColumn\nline 3: a person without source: write the register that knows the person, such as resident-id\n" +
				"line 4: a source without person: write the person, or neither for a key that stands for nobody\nline 5: source is no name of a register: write one such as resident-id\n" +
				"line 6: person and subject: write one of them\nline 7: subject is no id of the vault: write what `dizuo subject register` printed\n" +
				"line 8: key or person is longer than the vault takes: write at most 256 characters\nline 9: key or person is longer than the vault takes: write at most 256 characters\nline 10: not UTF-8: save the file as UTF-8"},
		{"a cell less", "key,person\nk1,4107-x\nk2\n", "resident-id", "line 3: not as many cells as the header has: write each, empty ones too"},
		{"quotes", "key,person\nk1,4107-x\"y\n", "resident-id", `line 2: bare " in non-quoted-field: write a cell with quotes as "a ""b"" c"`},
	} {
		links, problems := readLinks(strings.NewReader(c.file), c.source)
		if got := strings.Join(problems, "\n"); got != c.want {
			t.Errorf("%s:\n%s\nwant\n%s", c.what, got, c.want)
		}
		if strings.Contains(strings.Join(problems, ""), "4107") {
			t.Errorf("%s: a person is named: %s", c.what, problems)
		}
		if c.want == "" && len(links) == 0 {
			t.Errorf("%s: no links", c.what)
		}
	}
	links, _ := readLinks(strings.NewReader("\ufeffperson,key\r\n4107-x,\"k,\n1\"\r\n,k2\r\n"), "resident-id")
	if len(links) != 2 || links[0].Key != "k,\n1" || *links[0].Person != (linkPerson{"resident-id", "4107-x"}) || links[1].Person != nil || links[1].line != 4 {
		t.Errorf("%+v", links)
	}
}

// No call has more links, or more bytes, than the vault takes, and none is left out.
func TestLinkCalls(t *testing.T) {
	var links []keyLink
	for i := range 1000 {
		l := keyLink{Key: fmt.Sprintf("k%d", i), Person: &linkPerson{"resident-id", "4107"}, line: i + 2}
		if i > 500 {
			l.Key += strings.Repeat("<", 200) // six bytes each
		}
		links = append(links, l)
	}
	at := 0
	for _, call := range linkCalls(links) {
		raw, err := json.Marshal(map[string]any{"links": call})
		if err != nil || len(raw) > contract.MaxVaultBodyBytes || len(call) > contract.MaxLinks || len(call) == 0 {
			t.Errorf("%d links in %d bytes, %v", len(call), len(raw), err)
		}
		for _, l := range call {
			if l != links[at] {
				t.Fatalf("link %d is %+v", at, l)
			}
			at++
		}
	}
	if at != len(links) {
		t.Errorf("%d of %d", at, len(links))
	}
}

// linkWorld is a vault as far as its pace goes, and a clock that waiting sets on.
type linkWorld struct {
	t      *testing.T
	now    time.Time
	server *httptest.Server
	key    string
	// got counts links that were taken, refused calls that were put off.
	got, refused int
	waited       []time.Duration
	// answer is what a call gets in place of being taken.
	answer func(w http.ResponseWriter, links []keyLink) bool
}

func newLinkWorld(t *testing.T, tokens int) *linkWorld {
	key, dir := staff(t)
	w := &linkWorld{t: t, now: at, key: key}
	pace := rate.NewLimiter(contract.LinksPerSecond, contract.LinksAtOnce)
	pace.AllowN(at, contract.LinksAtOnce-tokens)
	w.server = httptest.NewTLSServer(http.HandlerFunc(func(out http.ResponseWriter, r *http.Request) {
		var body struct{ Links []keyLink }
		raw, _ := io.ReadAll(r.Body)
		_, err := person.Verify(strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer "), dir, nil, contract.PersonAudience("qi", "qi", contract.RoleVault), w.now)
		switch {
		case err != nil:
			out.WriteHeader(http.StatusUnauthorized)
		case r.URL.Path != "/v1/datasets/clinic/keys" || json.Unmarshal(raw, &body) != nil:
			out.WriteHeader(http.StatusNotFound)
		case w.answer != nil && w.answer(out, body.Links):
		case !pace.AllowN(w.now, len(body.Links)):
			w.refused++
			out.Header().Set("Retry-After", "3")
			out.WriteHeader(http.StatusTooManyRequests)
		default:
			w.got += len(body.Links)
			out.WriteHeader(http.StatusNoContent)
		}
	}))
	t.Cleanup(w.server.Close)
	return w
}

func (w *linkWorld) link(in string, args ...string) ran {
	w.t.Helper()
	var out, errs bytes.Buffer
	root := newRoot(&app{Streams: Streams{strings.NewReader(in), &out, &errs}, now: func() time.Time { return w.now }, env: func(string) string { return "" },
		wait: func(_ context.Context, d time.Duration) error {
			if d > 0 {
				w.waited, w.now = append(w.waited, d), w.now.Add(d)
			}
			return nil
		}})
	root.SetArgs(append([]string{"subject", "link", "--dataset", "clinic", "--server", w.server.URL, "--ca", pemOf(w.t, w.server.Certificate()), "--platform", "qi/qi",
		"--organization", "committee", "--subject", "p-3", "--role", "DataSteward", "--key", w.key}, args...))
	code := report(root.ExecuteContext(w.t.Context()), &errs)
	return ran{out.String(), errs.String(), code}
}

func manyLinks(n int) string {
	var b strings.Builder
	b.WriteString("key,person,source\n")
	for i := range n {
		fmt.Fprintf(&b, "k%d,4107-%d,resident-id\n", i, i)
	}
	return b.String()
}

// The command keeps the pace, so that nothing is put off, and a long file outlives a token.
func TestLinkKeepsThePace(t *testing.T) {
	w := newLinkWorld(t, contract.LinksAtOnce)
	r := w.link(manyLinks(100_000), "-", "-o", "json")
	var sum linked
	if r.code != ExitOK || json.Unmarshal([]byte(r.out), &sum) != nil || sum != (linked{"clinic", 100_000, 0, 500}) {
		t.Fatalf("exit code %d: %s%s", r.code, r.out, r.err)
	}
	if took := w.now.Sub(at); w.got != 100_000 || w.refused != 0 || took < 979*time.Second || took > 981*time.Second {
		t.Errorf("%d links, %d calls put off, in %v", w.got, w.refused, took)
	}
}

// Where another run took the allowance, the command waits as long as the vault says.
func TestLinkWaits(t *testing.T) {
	w := newLinkWorld(t, 300)
	r := w.link("key,subject\nk0,\n"+linesOf(399), "-")
	if r.code != ExitOK || w.got != 400 || w.refused != 1 || len(w.waited) != 1 || w.waited[0] != 3*time.Second || r.out != "clinic: 400 keys said in 2 calls, 1 of them for nobody\n" {
		t.Errorf("exit code %d, %d links, %d put off, waited %v: %s%s", r.code, w.got, w.refused, w.waited, r.out, r.err)
	}
	for _, c := range []struct {
		after string
		tries int
	}{{"", linkTries}, {"86400", 1}} {
		w, tries := newLinkWorld(t, 2000), 0
		w.answer = func(out http.ResponseWriter, _ []keyLink) bool {
			tries++
			out.Header().Set("Retry-After", c.after)
			out.WriteHeader(http.StatusServiceUnavailable)
			return true
		}
		if r := w.link(manyLinks(1), "-"); r.code != ExitFailed || tries != c.tries || !strings.Contains(r.err, "no key was linked: 503") {
			t.Errorf("Retry-After %q: exit code %d, %d tries: %s", c.after, r.code, tries, r.err)
		}
	}
}

// linesOf gives lines of a file of subjects.
func linesOf(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "s%d,subject-%d\n", i, i)
	}
	return b.String()
}

// What the vault refuses is said by lines; what was linked before is said, too, and persons are not.
func TestLinkRefused(t *testing.T) {
	refuse := func(status int, body string) func(http.ResponseWriter, []keyLink) bool {
		return func(out http.ResponseWriter, links []keyLink) bool {
			if links[0].Key == "k0" {
				return false
			}
			out.Header().Set("Content-Type", "application/problem+json")
			out.WriteHeader(status)
			_, _ = io.WriteString(out, body)
			return true
		}
	}
	for _, c := range []struct {
		status int
		body   string
		code   int
		want   string
	}{
		{422, `{"title":"Unprocessable Entity","detail":"person.source is a Dataset"}`, ExitFailed,
			"the lines up to 201 are linked, those from 202 on may not be; put it right and run this again with the same file: lines 202 to 251: 422 Unprocessable Entity; person.source is a Dataset"},
		{422, `{"title":"Unprocessable Entity","detail":"validation failed","errors":[{"message":"expected length <= 256","location":"body.links[4].person.key","value":"4107-204"}]}`, ExitFailed,
			"validation failed; line 206 person.key expected length <= 256"},
		{403, `{"title":"Forbidden","detail":"a person in this role may not do this"}`, ExitDenied, "403 Forbidden"},
		{404, `{"title":"Not Found","detail":"this organisation provides no such dataset"}`, ExitFailed, "404 Not Found"},
	} {
		w := newLinkWorld(t, 2000)
		w.answer = refuse(c.status, c.body)
		r := w.link(manyLinks(250), "-")
		if r.code != c.code || !strings.Contains(r.err, c.want) || strings.Contains(r.err, "4107") || r.out != "" || w.got != 200 {
			t.Errorf("%d: exit code %d, %d links: %s%s", c.status, r.code, w.got, r.out, r.err)
		}
	}
}

func TestLinkUsage(t *testing.T) {
	w := newLinkWorld(t, 2000)
	file := filepath.Join(t.TempDir(), "links.csv")
	if err := os.WriteFile(file, []byte("key,person,source\nk1,4107-x,resident-id\nk1,4107-y,resident-id\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if r := w.link("", file); r.code != ExitFailed || !strings.Contains(r.err, file+": nothing was sent:\n  line 3: the same key as on line 2") || strings.Contains(r.err, "4107") {
		t.Errorf("doubles: exit code %d: %s", r.code, r.err)
	}
	if r := w.link("key,person,source\n", "-"); r.code != ExitFailed || !strings.Contains(r.err, "no line but the header") {
		t.Errorf("no line: exit code %d: %s", r.code, r.err)
	}
	if r := w.link("key,person,source\n"+strings.Repeat(",,\n", 30), "-"); strings.Count(r.err, "no key") != 20 || !strings.Contains(r.err, "and 10 more") {
		t.Errorf("many problems: %s", r.err)
	}
	for _, args := range [][]string{{}, {"-", "-o", "xml"}, {file, file}} {
		if r := w.link(manyLinks(1), args...); r.code != ExitUsage {
			t.Errorf("%q: exit code %d: %s", args, r.code, r.err)
		}
	}
	if w.got != 0 {
		t.Errorf("%d links were sent", w.got)
	}
	for line, want := range map[string]string{"subject link --server https://v --dataset clinic ": "csv\n:8\n", "subject link -o ": "json\nyaml\n:4\n", "subject link --source ": "resident-id\n:4\n", "subject li": "link\t"} {
		if r := run(t, "", append([]string{"__complete"}, strings.Split(line, " ")...)...); !strings.HasPrefix(r.out, want) {
			t.Errorf("completion of %q: %s", line, r.out)
		}
	}
}
