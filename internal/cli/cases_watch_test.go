package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// feedStub is a feed of changes of two cases, and of the mode, as the service has it. fail says of the nth request, from 0 on, with which status it
// fails; 0 is not.
type feedStub struct {
	changes []map[string]any
	kept    int64
	asked   []asked
	fail    func(n int, q asked) int
}

func newFeedStub() *feedStub {
	f := &feedStub{fail: func(int, asked) int { return 0 }}
	one, two := aCase(), aCase()
	two["id"], two["number"] = "0197a1b2-0000-7000-8000-000000000002", "20260601-000002"
	add := func(c map[string]any, kind string, version int) {
		n := len(f.changes) + 1
		f.changes = append(f.changes, map[string]any{"n": n, "at": at.Add(time.Duration(n) * time.Minute).Format(time.RFC3339), "kind": kind, "version": version, "case": c})
	}
	add(one, "Report", 1)
	add(one, "Dispatch", 2)
	add(two, "Report", 1)
	add(one, "SignalAgain", 2)
	f.changes = append(f.changes, map[string]any{"n": 5, "at": at.Add(5 * time.Minute).Format(time.RFC3339), "kind": "ModeSwitched",
		"mode": map[string]any{"n": 7, "mode": "Emergency", "since": at, "expiresAt": at.Add(6 * time.Hour)}})
	add(two, "Dispatch", 2)
	add(one, "Acknowledge", 3)
	return f
}

// answer is what the service says: a page of two changes, of which none is below kept.
func (f *feedStub) answer(q asked) (int, any) {
	n := len(f.asked)
	f.asked = append(f.asked, q)
	if status := f.fail(n, q); status != 0 {
		return status, map[string]any{"title": http.StatusText(status), "status": status, "detail": "synthetic"}
	}
	if id, ok := strings.CutPrefix(q.path, "/v1/cases/"); ok {
		c := aCase()
		c["id"] = id
		return 200, c
	}
	after, err := strconv.ParseInt(q.query.Get("after"), 10, 64)
	switch {
	case q.query.Get("since") != "":
		since, err := time.Parse(time.RFC3339Nano, q.query.Get("since"))
		if err != nil {
			return 422, map[string]any{"title": "Unprocessable Entity", "status": 422}
		}
		after = int64(since.Sub(at)/time.Minute) - 1
	case err != nil: // where the feed stands
		return 200, map[string]any{"changes": []any{}, "next": 2}
	}
	if after < f.kept {
		return 410, map[string]any{"title": "Gone", "status": 410, "detail": "query.after: changes up to 3 are kept no more"}
	}
	page := f.changes[after:min(after+2, int64(len(f.changes)))]
	return 200, map[string]any{"changes": page, "next": after + int64(len(page))}
}

// watch runs `cases watch` until the feed is read to its end and asked once more, and gives number and action of each change that it prints.
func (f *feedStub) watch(t *testing.T, args ...string) (r ran, told []string, pauses []time.Duration) {
	t.Helper()
	f.asked = nil
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	server, _ := stub(t, func(q asked) (int, any) {
		status, v := f.answer(q)
		if q.query.Get("after") == strconv.Itoa(len(f.changes)) {
			stop() // as Ctrl-C does while the feed is waited for
		}
		return status, v
	})
	var out, errs bytes.Buffer
	a := &app{Streams: Streams{strings.NewReader(""), &out, &errs}, now: func() time.Time { return at }, env: func(string) string { return "" },
		wait: func(ctx context.Context, d time.Duration) error { pauses = append(pauses, d); return ctx.Err() }}
	root := newRoot(a)
	root.SetArgs(append(append([]string{"cases", "watch"}, args...), server...))
	code := report(root.ExecuteContext(ctx), &errs)
	for line := range strings.Lines(out.String()) {
		var e struct {
			N       int64
			Version int
			Kind    string
			Case    struct{ Number string }
			Mode    *Mode
			Entry   *CaseStep
		}
		if !strings.HasPrefix(line, "{") {
			words := strings.Fields(line)
			told = append(told, strings.Join(words[2:min(4, len(words))], " "))
			continue
		}
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			t.Fatal(err)
		}
		if (e.Entry != nil) != (e.Mode == nil && e.Kind != "SignalAgain") || e.Entry != nil && (e.Entry.N != e.Version || e.Entry.Action != e.Kind) {
			t.Errorf("change %d has the entry %+v", e.N, e.Entry)
		}
		told = append(told, strings.TrimSpace(e.Case.Number+" "+e.Kind))
	}
	return ran{out.String(), errs.String(), code}, told, pauses
}

var allTold = []string{"20260601-000001 Report", "20260601-000001 Dispatch", "20260601-000002 Report", "20260601-000001 SignalAgain", "ModeSwitched", "20260601-000002 Dispatch", "20260601-000001 Acknowledge"}

func TestCaseWatch(t *testing.T) {
	f := newFeedStub()
	for name, c := range map[string]struct {
		args []string
		want []string
	}{
		"from now on":   {nil, allTold[2:]},
		"from a number": {[]string{"--after", "3"}, allTold[3:]},
		"from all":      {[]string{"--after", "0"}, allTold},
		"from a time":   {[]string{"--since", at.Add(5 * time.Minute).Format(time.RFC3339)}, allTold[4:]},
	} {
		r, told, pauses := f.watch(t, append(c.args, "-o", "json")...)
		if r.code != ExitOK || r.err != "" || !slices.Equal(told, c.want) || pauses != nil {
			t.Errorf("%s: exit code %d, told %q, want %q\n%s%s", name, r.code, told, c.want, r.out, r.err)
		}
	}
	human := slices.Clone(allTold)
	human[4] = "Mode: Emergency,"
	if r, told, _ := f.watch(t, "--after", "0", "--lang", "en"); r.code != ExitOK || !slices.Equal(told, human) {
		t.Errorf("exit code %d, told %q, want %q\n%s%s", r.code, told, human, r.out, r.err)
	}
	if r, _, _ := f.watch(t, "--after", "0", "--lang", "zh"); !strings.Contains(r.out, "模式：战时 (Emergency)") || !strings.Contains(r.out, "20260601-000001  信号重复  处置") || !strings.Contains(r.out, "派遣 -> 处置") {
		t.Errorf("in Chinese:\n%s%s", r.out, r.err)
	}
	f.watch(t, "--community", "jinghu", "--state", "Open", "--mine")
	if q := f.asked[0].query; q.Get("community") != "jinghu" || q.Get("state") != "Open" || q.Get("mine") != "true" || q.Get("wait") != "25s" || q.Has("after") || q.Has("limit") {
		t.Errorf("asked %v", q)
	}
	for _, wrong := range [][]string{{"-o", "yaml"}, {"--since", "yesterday"}, {"--since", "1h", "--after", "3"}} {
		if r, _, _ := f.watch(t, wrong...); r.code != ExitUsage || len(f.asked) > 0 {
			t.Errorf("%v: exit code %d", wrong, r.code)
		}
	}
}

// TestCaseWatchGoesOn: whatever request fails, also in the midst of a page, each change is told once; pauses grow and end with the failures.
func TestCaseWatchGoesOn(t *testing.T) {
	f := newFeedStub()
	f.watch(t, "--after", "0")
	for fails := range len(f.asked) - 1 {
		f.fail = func(n int, _ asked) int {
			if n >= fails && n < fails+2 {
				return 503
			}
			return 0
		}
		r, told, pauses := f.watch(t, "--after", "0", "-o", "json")
		if r.code != ExitOK || !slices.Equal(told, allTold) || strings.Count(r.err, "# 503") != 2 {
			t.Errorf("requests %d and %d fail: exit code %d, told %q\n%s", fails, fails+1, r.code, told, r.err)
		}
		if want := []time.Duration{time.Second, 2 * time.Second}; !slices.Equal(pauses, want) {
			t.Errorf("pauses %v, want %v", pauses, want)
		}
	}
	var got []time.Duration
	for failed := range 8 {
		got = append(got, feedPauseAfter(failed, nil))
	}
	if got[4] != 16*time.Second || got[5] != 30*time.Second || got[7] != 30*time.Second || feedPauseAfter(3, &Refusal{RetryAfter: 5 * time.Second}) != 5*time.Second {
		t.Errorf("pauses %v", got)
	}
}

// TestCaseWatchSaysWhatWasMissed: a number below which changes are gone ends the command, and does not begin anew as if nothing had been missed.
func TestCaseWatchSaysWhatWasMissed(t *testing.T) {
	f := newFeedStub()
	f.kept = 3
	for name, c := range map[string]struct {
		args []string
		want string
	}{
		"a number": {[]string{"--after", "2"}, "changes after number 2 were missed"},
		"a time":   {[]string{"--since", at.Add(2 * time.Minute).Format(time.RFC3339)}, "write a later --since"},
	} {
		if r, told, _ := f.watch(t, c.args...); r.code != ExitFailed || told != nil || !strings.Contains(r.err, c.want) || !strings.Contains(r.err, "410 Gone") {
			t.Errorf("%s: exit code %d, told %v: %s", name, r.code, told, r.err)
		}
	}
	for status, code := range map[int]int{401: ExitDenied, 403: ExitDenied, 422: ExitFailed} {
		f.fail = func(int, asked) int { return status }
		if r, _, pauses := f.watch(t); r.code != code || pauses != nil {
			t.Errorf("%d: exit code %d, want %d: %s", status, r.code, code, r.err)
		}
	}
}
