package audit

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"errors"
	"io"
	"io/fs"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/dizuo/dizuo/internal/contract"
)

// packed gives an archive of one header after the other; zeros fill the files.
func packed(t *testing.T, headers ...*tar.Header) []byte {
	t.Helper()
	var out bytes.Buffer
	zip := gzip.NewWriter(&out)
	w := tar.NewWriter(zip)
	for _, h := range headers {
		h.Mode, h.Format = 0o644, tar.FormatPAX
		if err := w.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		if h.Typeflag == tar.TypeReg {
			if _, err := io.CopyN(w, zeros{}, h.Size); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := errors.Join(w.Close(), zip.Close()); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

// TestExtractHostile: what a hostile archive is made of is refused, and next to nothing of it is on the disk.
func TestExtractHostile(t *testing.T) {
	file := func(name string) *tar.Header { return &tar.Header{Typeflag: tar.TypeReg, Name: name} }
	for name, c := range map[string]struct {
		headers []*tar.Header
		want    string
	}{
		"above":               {[]*tar.Header{file("../x")}, "not a name within"},
		"absolute":            {[]*tar.Header{file("/x")}, "not a name within"},
		"symlink":             {[]*tar.Header{{Typeflag: tar.TypeSymlink, Name: "log", Linkname: "/etc"}, file("log/x")}, "is not a file"},
		"hard link":           {[]*tar.Header{{Typeflag: tar.TypeLink, Name: "x", Linkname: "/etc/passwd"}}, "is not a file"},
		"twice":               {[]*tar.Header{file("x"), file("x")}, "exists"},
		"a thousand folders":  {[]*tar.Header{file(strings.Repeat("a/", 1000) + "x")}, "not a name within"},
		"a file for a folder": {[]*tar.Header{file("x"), file("x/y")}, "exists"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			if err := Extract(bytes.NewReader(packed(t, c.headers...)), dir); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %.300v, want %q", err, c.want)
			}
			n := 0
			_ = filepath.WalkDir(dir, func(string, fs.DirEntry, error) error { n++; return nil })
			if n > 10 {
				t.Errorf("%d files and folders are on the disk", n)
			}
		})
	}
}

// TestExtractCountsEmptyFiles: a file without bytes takes its place on the disk too, so a small archive cannot be all of a disk's inodes.
func TestExtractCountsEmptyFiles(t *testing.T) {
	var headers []*tar.Header
	for i := range 20 {
		headers = append(headers, &tar.Header{Typeflag: tar.TypeReg, Name: string(rune('a' + i))})
	}
	err := extractWithin(bytes.NewReader(packed(t, headers...)), t.TempDir(), 10*entryCost)
	if err == nil || !strings.Contains(err.Error(), "larger than") {
		t.Errorf("got %v", err)
	}
}

// huge is a folder with a manifest and a file of zeros.
type huge struct {
	small fs.FS
	size  int64
}

// Open implements fs.FS.
func (h huge) Open(name string) (fs.File, error) {
	f, err := h.small.Open(name)
	if err != nil || name != "x" {
		return f, err
	}
	return hugeFile{f, io.LimitReader(zeros{}, h.size)}, nil
}

type hugeFile struct {
	fs.File
	in io.Reader
}

// Read implements fs.File.
func (f hugeFile) Read(p []byte) (int, error) { return f.in.Read(p) }

// TestManifestInLittleMemory: four megabytes of an archive unpack to four gigabytes of zeros; they are digested and not held.
func TestManifestInLittleMemory(t *testing.T) {
	const size = 256 << 20
	files := map[string][]byte{"x": nil}
	if err := Seal(files); err != nil {
		t.Fatal(err)
	}
	h := huge{fstest.MapFS{"x": {ModTime: time.Unix(0, 0)}, ManifestFile: {Data: files[ManifestFile]}}, size}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	err := Manifest(h)
	runtime.ReadMemStats(&after)
	if err == nil || !strings.Contains(err.Error(), "changed, missing or added: x") {
		t.Errorf("got %v", err)
	}
	if got := after.TotalAlloc - before.TotalAlloc; got > size/16 {
		t.Errorf("%d bytes were allocated for a file of %d", got, size)
	}
	if got, want := contract.Digest(nil), digestOf(t, fstest.MapFS{"x": {}}); got != want {
		t.Errorf("digest %s, want %s", got, want)
	}
}

func digestOf(t *testing.T, fsys fs.FS) string {
	t.Helper()
	sum, err := fileDigest(fsys, "x")
	if err != nil {
		t.Fatal(err)
	}
	return sum
}
