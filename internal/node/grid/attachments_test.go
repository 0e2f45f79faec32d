package grid

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"mime/multipart"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/dizuo/dizuo/internal/contract"
)

// Beginnings of files, as programs look for them.
const (
	pngBegin  = "\x89PNG\r\n\x1a\n"
	jpegBegin = "\xff\xd8\xff\xe0"
)

// content is a file of a size that begins so; the rest is random.
func content(begin string, size int) []byte {
	out := make([]byte, size)
	r := rand.NewChaCha8([32]byte{1})
	_, _ = r.Read(out)
	copy(out, begin)
	return out
}

// upload attaches a file and gives what is answered.
func (w *world) upload(path, token string, file []byte, headers ...string) (at Attachment, status int) {
	w.t.Helper()
	var body bytes.Buffer
	form := multipart.NewWriter(&body)
	part, err := form.CreateFormFile("file", "../../etc/passwd.html")
	if err != nil {
		w.t.Fatal(err)
	}
	_, _ = part.Write(file)
	_ = form.Close()
	raw, status := w.send1("POST", path+"/attachments", token, &body, append(headers, "Content-Type", form.FormDataContentType())...)
	if status >= 300 {
		w.t.Logf("%d bytes: %s", len(file), raw)
	} else {
		if err := json.Unmarshal(raw, &at); err != nil {
			w.t.Fatal(err)
		}
	}
	return at, status
}

// send1 makes one request with a body as it is.
func (w *world) send1(method, path, token string, body io.Reader, headers ...string) ([]byte, int) {
	w.t.Helper()
	raw, resp := w.raw(method, path, token, body, headers...)
	return raw, resp.StatusCode
}

func (w *world) raw(method, path, token string, body io.Reader, headers ...string) ([]byte, *http.Response) {
	w.t.Helper()
	req, err := http.NewRequestWithContext(w.t.Context(), method, w.api.URL+path, body)
	if err != nil {
		w.t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+token)
	for i := 0; i+1 < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		w.t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	raw, err := io.ReadAll(resp.Body)
	if err != nil {
		w.t.Fatal(err)
	}
	return raw, resp
}

func TestMediaTypesByTheirBytes(t *testing.T) {
	for want, begins := range map[string][]string{
		"image/jpeg": {jpegBegin}, "image/png": {pngBegin}, "image/webp": {"RIFF\x00\x00\x00\x00WEBPVP8 "}, "application/pdf": {"%PDF-1.7"},
		"audio/mpeg": {"ID3\x03\x00", "\xff\xfb\x90\x44", "\xff\xf3\x40\xc4"}, "audio/wave": {"RIFF\x00\x00\x00\x00WAVEfmt "}, "audio/ogg": {"OggS\x00\x02"}, "audio/mp4": {"\x00\x00\x00\x1cftypM4A "},
		"audio/aac": {"\xff\xf1\x50\x80", "\xff\xf9\x50\x80"}, "audio/amr": {"#!AMR\n"},
		"": {"", "plain", "<html><script>", "\xff\xfe<\x00s\x00", "MZ\x90\x00", "\x7fELF", "PK\x03\x04", "<?xml version=\"1.0\"?><svg>", "GIF89a", "\x00\x00\x00\x18ftypmp42", "{\"a\":1}", "\x1f\x8b\x08", "\xff"},
	} {
		for _, begin := range begins {
			if got := mediaTypeOf([]byte(begin)); got != want {
				t.Errorf("%q: %q, want %q", begin, got, want)
			}
		}
	}
}

// TestAttachmentsComeBackAsTheyWere: of sizes around a part, with the headers that keep browsers from running them; what is too large, of no type that is
// taken, or no form, is refused and leaves nothing.
func TestAttachmentsComeBackAsTheyWere(t *testing.T) {
	t.Parallel()
	w := newPeopleWorld(t)
	boss := w.token("committee", "p-9", RoleDispatcher)
	ref, _ := w.reportAs(w.token("committee", "r-1", RoleResident), "key-0001", lamp())
	path := "/v1/cases/" + ref.ID.String()
	for _, size := range []int{64, maxPart - 1, maxPart, maxPart + 1, 3*maxPart + 5, maxAttachment} {
		file := content(pngBegin, size)
		at, status := w.upload(path, boss, file)
		if status != 201 || at.Bytes != int64(size) || at.MediaType != "image/png" || at.Digest != fmt.Sprintf("sha256:%x", sha256.Sum256(file)) || at.Class != "C3" {
			t.Fatalf("%d bytes: %d %+v", size, status, at)
		}
		raw, resp := w.raw("GET", path+"/attachments/"+at.ID.String(), boss, nil)
		if resp.StatusCode != 200 || !bytes.Equal(raw, file) {
			t.Errorf("%d bytes: %d, %d come back", size, resp.StatusCode, len(raw))
		}
		for name, want := range map[string]string{"Content-Type": "image/png", "Content-Disposition": `attachment; filename="` + at.ID.String() + `.png"`, "X-Content-Type-Options": "nosniff", "Content-Length": fmt.Sprint(size)} {
			if got := resp.Header.Get(name); got != want {
				t.Errorf("%s: %q, want %q", name, got, want)
			}
		}
		if n := number(t, w.pool, "SELECT count(*) FROM grid.attachment_parts WHERE id = $1", at.ID); n != int64((size+maxPart-1)/maxPart) {
			t.Errorf("%d bytes are in %d parts", size, n)
		}
	}
	before := number(t, w.pool, "SELECT count(*) FROM grid.attachments")
	for name, c := range map[string]struct {
		file []byte
		want int
	}{
		"a byte too large": {content(pngBegin, maxAttachment+1), 413}, "far too large": {content(pngBegin, maxUpload+1000), 413}, "a page": {[]byte("<html><script>alert(1)</script>"), 415}, "nothing": {nil, 415},
	} {
		if _, got := w.upload(path, boss, c.file); got != c.want {
			t.Errorf("%s: %d, want %d", name, got, c.want)
		}
	}
	const form = "multipart/form-data; boundary=b"
	for name, c := range map[string]struct {
		kind, body string
		want       int
	}{
		"no form": {"image/png", pngBegin, 415}, "no boundary": {"multipart/form-data", "", 415}, "no file": {form, "--b\r\nContent-Disposition: form-data; name=\"other\"\r\n\r\nx\r\n--b--\r\n", 422},
		"broken off": {form, "--b\r\nContent-Disposition: form-data; name=\"file\"\r\n\r\n" + pngBegin, 400}, "garbage": {form, "garbage", 422},
	} {
		if _, got := w.send1("POST", path+"/attachments", boss, strings.NewReader(c.body), "Content-Type", c.kind); got != c.want {
			t.Errorf("%s: %d, want %d", name, got, c.want)
		}
	}
	if n := number(t, w.pool, "SELECT count(*) FROM grid.attachments"); n != before {
		t.Errorf("%d attachments, want %d: what was refused left something", n, before)
	}
	if n := number(t, w.pool, "SELECT count(*) FROM grid.attachment_parts p WHERE NOT EXISTS (SELECT FROM grid.attachments a WHERE a.id = p.id)"); n != 0 {
		t.Errorf("%d parts of nothing", n)
	}
	if w.svc.api.uploads.running() != 0 {
		t.Error("an upload that is over counts still")
	}
	if _, got := w.send1("PUT", "/v1/roster", boss, bytes.NewReader(content(`{"community":"`, maxBody+1)), "Content-Type", "application/json"); got < 400 {
		t.Errorf("a large body elsewhere is taken: %d", got)
	}
}

// TestAttachmentsAreTheCases: who does not see the case, does not see that anything is attached; who sees it only, erases nothing; the reporter attaches
// by the receipt and reads nothing.
func TestAttachmentsAreTheCases(t *testing.T) {
	t.Parallel()
	w := newPeopleWorld(t)
	boss, resident := w.token("committee", "p-9", RoleDispatcher), w.token("committee", "r-1", RoleResident)
	ref, _ := w.reportAs(resident, "key-0001", lamp())
	other, _ := w.reportAs(resident, "key-0002", lamp())
	path, elsewhere := "/v1/cases/"+ref.ID.String(), "/v1/cases/"+other.ID.String()
	file := content(jpegBegin, 100)
	at, got := w.upload(path, resident, file, "Dizuo-Receipt", ref.Receipt)
	if got != 201 {
		t.Fatalf("the reporter: %d", got)
	}
	if _, got := w.upload(path, resident, file, "Dizuo-Receipt", other.Receipt); got != 404 {
		t.Errorf("by the receipt of another case: %d, want 404", got)
	}
	for _, c := range []struct {
		org                    string
		role                   Role
		attach, list, get, del int
	}{
		{"committee", RoleResident, 404, 404, 404, 404}, {"committee", RoleAuditor, 403, 200, 200, 403}, {"committee", RoleGridWorker, 404, 404, 404, 404}, {"committee", RoleHotline, 404, 404, 404, 404},
		{"property", RoleDispatcher, 201, 200, 200, 403}, {"fire-luoyang", RoleDispatcher, 404, 404, 404, 404}, {"vendor", RoleDispatcher, 404, 404, 404, 404}, {"committee", "Mayor", 404, 404, 404, 404},
	} {
		token := w.token(c.org, "x", c.role)
		_, attach := w.upload(path, token, file)
		one := path + "/attachments/" + at.ID.String()
		got := []int{attach, w.call("GET", path+"/attachments", token, nil, nil), w.call("GET", one, token, nil, nil), w.call("DELETE", one, token, nil, nil)}
		if want := []int{c.attach, c.list, c.get, c.del}; c.get == 200 {
			_, got[2] = w.send1("GET", one, token, nil)
			if !slices.Equal(got, want) {
				t.Errorf("%s %s: %v, want %v", c.org, c.role, got, want)
			}
		} else if !slices.Equal(got, want) {
			t.Errorf("%s %s: %v, want %v", c.org, c.role, got, want)
		}
	}
	for _, method := range []string{"GET", "DELETE"} {
		if got := w.call(method, elsewhere+"/attachments/"+at.ID.String(), boss, nil, nil); got != 404 {
			t.Errorf("%s under another case: %d, want 404", method, got)
		}
	}
	// What is sensitive is seen by who was called.
	if _, err := w.pool.Exec(t.Context(), "UPDATE grid.cases SET data_class = 'C2' WHERE id = $1", ref.ID); err != nil {
		t.Fatal(err)
	}
	if got := w.call("GET", path+"/attachments/"+at.ID.String(), w.token("property", "x", RoleDispatcher), nil, nil); got != 404 {
		t.Errorf("who was not called to a case of class C2: %d, want 404", got)
	}
	var list AttachmentList
	if got := w.call("GET", path+"/attachments", boss, nil, &list); got != 200 || len(list.Attachments) != 2 {
		t.Errorf("list: %d %+v", got, list)
	}
	if at, _ := w.upload(path, boss, file); at.Class != "C2" {
		t.Errorf("class %s, want the case's", at.Class)
	}
	// Erased: the bytes are gone at once, and the history says who did it.
	if got := w.call("DELETE", path+"/attachments/"+at.ID.String(), boss, nil, nil); got != 204 {
		t.Errorf("erase: %d", got)
	}
	if _, got := w.send1("GET", path+"/attachments/"+at.ID.String(), boss, nil); got != 410 {
		t.Errorf("erased: %d, want 410", got)
	}
	if got := w.call("DELETE", path+"/attachments/"+at.ID.String(), boss, nil, nil); got != 404 {
		t.Errorf("erase again: %d, want 404", got)
	}
	d, actions := w.detail(path, boss)
	if last := d.History[len(d.History)-1]; last.Action != "AttachmentErased" || last.Actor.Person != "p-9" || !slices.Contains(actions, "Attached") || last.Detail["attachment"] != at.ID.String() {
		t.Errorf("history %v: %+v", actions, last)
	}
	if n := number(t, w.pool, "SELECT count(*) FROM grid.attachment_parts WHERE id = $1", at.ID); n != 0 {
		t.Errorf("%d parts are left", n)
	}
}

// TestASlowUploadHoldsNothing: while a file comes, the case is free and so are the connections to the database; more than a few at once wait their turn.
func TestASlowUploadHoldsNothing(t *testing.T) {
	t.Parallel()
	w := newPeopleWorld(t)
	boss := w.token("committee", "p-9", RoleDispatcher)
	ref, _ := w.reportAs(w.token("committee", "r-1", RoleResident), "key-0001", lamp())
	path := "/v1/cases/" + ref.ID.String()
	type answer struct {
		status int
		err    error
	}
	answers := make(chan answer, uploadsAtOnce)
	var pipes []*io.PipeWriter
	var forms []*multipart.Writer
	for i := range uploadsAtOnce {
		r, in := io.Pipe()
		form := multipart.NewWriter(in)
		req, err := http.NewRequestWithContext(t.Context(), "POST", w.api.URL+path+"/attachments", r)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Authorization", "Bearer "+w.token("committee", fmt.Sprint("p-", i), RoleDispatcher))
		req.Header.Set("Content-Type", form.FormDataContentType())
		go func() {
			resp, err := http.DefaultClient.Do(req)
			if err != nil {
				answers <- answer{err: err}
				return
			}
			_ = resp.Body.Close()
			answers <- answer{status: resp.StatusCode}
		}()
		part, err := form.CreateFormFile("file", "x")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := part.Write(content(pngBegin, maxPart+10)); err != nil { // over a part, so that the service has begun with it
			t.Fatal(err)
		}
		pipes, forms = append(pipes, in), append(forms, form)
		if i > 0 {
			continue
		}
		eventually(t, "an upload runs", func() bool { return w.svc.api.uploads.running() == 1 })
		if _, got := w.upload(path, w.token("committee", "p-0", RoleDispatcher), content(pngBegin, 100)); got != 503 {
			t.Errorf("a second one of the same person: %d, want 503", got)
		}
	}
	eventually(t, "all uploads run", func() bool { return w.svc.api.uploads.running() == uploadsAtOnce })
	if err := pgx.BeginFunc(t.Context(), w.pool, func(tx pgx.Tx) error {
		_, err := tx.Exec(t.Context(), "SELECT FROM grid.cases WHERE id = $1 FOR UPDATE NOWAIT", ref.ID)
		return err
	}); err != nil {
		t.Errorf("the case is held: %v", err)
	}
	if n := number(t, w.pool, "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND state LIKE 'idle in transaction%'"); n != 0 {
		t.Errorf("%d transactions are open and wait for who sends", n)
	}
	if _, got := w.upload(path, boss, content(pngBegin, 100)); got != 503 {
		t.Errorf("one more: %d, want 503", got)
	}
	for i, in := range pipes {
		_ = forms[i].Close()
		_ = in.Close()
	}
	for range uploadsAtOnce {
		if a := <-answers; a.status != 201 {
			t.Errorf("a slow upload: %d %v", a.status, a.err)
		}
	}
	if _, got := w.upload(path, boss, content(pngBegin, 100)); got != 201 {
		t.Errorf("after them: %d, want 201", got)
	}
}

func TestACaseHasSoManyAttachments(t *testing.T) {
	t.Parallel()
	w := newPeopleWorld(t)
	boss := w.token("committee", "p-9", RoleDispatcher)
	ref, _ := w.reportAs(w.token("committee", "r-1", RoleResident), "key-0001", lamp())
	path := "/v1/cases/" + ref.ID.String()
	for range attachmentsOfCase {
		if _, got := w.upload(path, boss, content(pngBegin, 20)); got != 201 {
			t.Fatal(got)
		}
	}
	if _, got := w.upload(path, boss, content(pngBegin, 20)); got != 409 {
		t.Errorf("one more: %d, want 409", got)
	}
	w.close(path, boss, Acknowledge, RequestVerification, Close)
	if _, got := w.upload(path, boss, content(pngBegin, 20)); got != 409 {
		t.Errorf("a closed case: %d, want 409", got)
	}
}

// TestAttachmentsGoWhenTheirTimeIsOver: by class, with their case over for as long; sooner if it was said so when they came; what stays is that they were
// there.
func TestAttachmentsGoWhenTheirTimeIsOver(t *testing.T) {
	grid, owner := database(t)
	now := time.Now().UTC().Truncate(time.Microsecond)
	keep := contract.Retention{NoteSeconds: 1000, NoteClasses: map[string]int64{"C3": 100}}
	ago := func(seconds int64) time.Time { return now.Add(-time.Duration(seconds) * time.Second) }
	stays := map[uuid.UUID]bool{}
	add := func(state, class string, closed, at int64, erase *time.Time, there bool) {
		of, id := uuid.New(), uuid.New()
		exec1(t, owner, `INSERT INTO grid.cases (id, number, community, class, severity, title, data_class, state, source, started_at, last_signal_at, opened_at, updated_at)
			VALUES ($1, $1::uuid::text, 'c', 'x', 'Low', 't', $2, $3, 'System', $4, $4, $4, $4)`, of, class, state, ago(closed))
		exec1(t, owner, "INSERT INTO grid.attachments (id, case_id, at, media_type, bytes, digest, class, erase_after) VALUES ($1, $2, $3, 'image/png', 1, 'd', $4, $5)", id, of, ago(at), class, erase)
		exec1(t, owner, "INSERT INTO grid.attachment_parts VALUES ($1, 0, 'x')", id)
		stays[id] = there
	}
	for class, seconds := range map[string]int64{"C0": 1000, "C2": 1000, "C3": 100} {
		for _, off := range []int64{1, 0, -1} {
			add("Closed", class, seconds+off, seconds+off, nil, off < 0)
			add("Closed", class, seconds+off, 2*seconds, nil, off < 0)
			add("Handling", class, seconds+off, seconds+off, nil, true)
		}
	}
	soon, later := ago(0), now.Add(time.Second)
	add("Closed", "C0", 1001, 500, &soon, false) // it was said to go by now, whatever is said since
	add("Closed", "C0", 1001, 500, &later, true)
	add("Closed", "C0", 999, 500, &soon, true) // the case was over too lately
	for range 2*eraseAtOnce + 3 {
		add("Closed", "C1", 5000, 5000, nil, false)
	}
	pool := poolOf(t, grid)
	k := &retainer{pool: pool, log: quiet(), now: func() time.Time { return now }, profiles: noProfiles}
	if n, err := k.forget(t.Context(), contract.Retention{}); n != 0 || err != nil {
		t.Errorf("a bundle that does not say made %d go: %v", n, err)
	}
	for more := true; more; {
		n, err := k.forget(t.Context(), keep)
		if err != nil {
			t.Fatal(err)
		}
		if n > eraseAtOnce {
			t.Errorf("%d went at once", n)
		}
		more = n > 0
	}
	for id, there := range stays {
		parts := number(t, pool, "SELECT count(*) FROM grid.attachment_parts WHERE id = $1", id)
		marked := number(t, pool, "SELECT count(*) FROM grid.attachments WHERE id = $1 AND erased_at = $2 AND erased_by = 'retention'", id, now)
		if (parts == 1) != there || (marked == 0) != there {
			t.Errorf("%s: %d parts, marked %d, stays %v", id, parts, marked, there)
		}
	}
	exec1(t, grid, "DELETE FROM grid.cases WHERE NOT open")
	if n := number(t, pool, "SELECT count(*) FROM grid.attachments"); n != 9 {
		t.Errorf("%d attachments are left, want those of the 9 open cases", n)
	}
}

// TestErasedWhileItIsRead: an answer that cannot be finished breaks off; it does not look whole.
func TestErasedWhileItIsRead(t *testing.T) {
	t.Parallel()
	w := newPeopleWorld(t)
	boss := w.token("committee", "p-9", RoleDispatcher)
	ref, _ := w.reportAs(w.token("committee", "r-1", RoleResident), "key-0001", lamp())
	path := "/v1/cases/" + ref.ID.String()
	at, got := w.upload(path, boss, content(pngBegin, 3*maxPart))
	if got != 201 {
		t.Fatal(got)
	}
	if _, err := w.pool.Exec(t.Context(), "DELETE FROM grid.attachment_parts WHERE id = $1 AND n = 2", at.ID); err != nil {
		t.Fatal(err)
	}
	req, err := http.NewRequestWithContext(t.Context(), "GET", w.api.URL+path+"/attachments/"+at.ID.String(), nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+boss)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return // broke off before anything came
	}
	defer func() { _ = resp.Body.Close() }()
	if n, err := io.Copy(io.Discard, resp.Body); err == nil {
		t.Errorf("%d bytes look whole", n)
	}
}
