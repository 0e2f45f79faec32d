package audit

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path"
	"slices"
	"strings"

	"github.com/dizuo/dizuo/internal/contract"
)

// maxArchive bounds what is unpacked, so that a hostile archive cannot fill a disk.
const maxArchive = 4 << 30

// Seal adds the manifest: the digest of every other file.
func Seal(files map[string][]byte) error {
	delete(files, ManifestFile)
	sums := map[string]string{}
	for name, data := range files {
		sums[name] = contract.Digest(data)
	}
	raw, err := json.MarshalIndent(sums, "", "  ")
	files[ManifestFile] = append(raw, '\n')
	return err
}

// Write writes files as an archive. The same files give the same bytes: sorted, without times and owners.
func Write(w io.Writer, files map[string][]byte) error {
	zip := gzip.NewWriter(w)
	out := tar.NewWriter(zip)
	for _, name := range slices.Sorted(maps.Keys(files)) {
		if err := out.WriteHeader(&tar.Header{Name: name, Mode: 0o644, Size: int64(len(files[name])), Format: tar.FormatPAX}); err != nil {
			return err
		}
		if _, err := out.Write(files[name]); err != nil {
			return err
		}
	}
	return errors.Join(out.Close(), zip.Close())
}

// entryCost is what a file counts beside its bytes: it takes a block and an inode of the disk, however small it is.
const entryCost = 4 << 10

// maxName and maxFolders bound a name: one of a megabyte would be half a million folders. Export writes a handful.
const (
	maxName    = 1024
	maxFolders = 16
)

// Extract unpacks an archive into a folder that is empty, and nowhere else, and holds every file against the manifest.
func Extract(r io.Reader, dir string) error { return extractWithin(r, dir, maxArchive) }

func extractWithin(r io.Reader, dir string, limit int64) error {
	zip, err := gzip.NewReader(r)
	if err != nil {
		return fmt.Errorf("not an archive of `dizuo audit export`: %w", err)
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer func() { _ = root.Close() }()
	in, left := tar.NewReader(zip), limit
	for {
		h, err := in.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return fmt.Errorf("archive: %w", err)
		}
		if left -= h.Size + entryCost; left < 0 || h.Typeflag != tar.TypeReg {
			return fmt.Errorf("archive: %s is not a file, or the archive is larger than %d bytes", h.Name, limit)
		}
		if err := extract(root, h.Name, in); err != nil {
			return fmt.Errorf("archive: %w", err)
		}
	}
	const padding = 10 << 10 // of tar; gzip's checksum is checked behind it
	n, err := io.Copy(io.Discard, io.LimitReader(zip, padding+1))
	if err != nil {
		return fmt.Errorf("archive: %w", err)
	}
	if n > padding {
		return errors.New("archive: it goes on behind its end")
	}
	return Manifest(os.DirFS(dir))
}

func extract(root *os.Root, name string, in io.Reader) error {
	if path.Clean(name) != name || !fs.ValidPath(name) || len(name) > maxName || strings.Count(name, "/") > maxFolders {
		return fmt.Errorf("%.200q is not a name within", name)
	}
	if err := root.MkdirAll(path.Dir(name), 0o755); err != nil {
		return err
	}
	f, err := root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return err
	}
	_, err = io.Copy(f, in)
	return errors.Join(err, f.Close())
}

// Manifest holds every file against the manifest: none changed, none missing, none more.
func Manifest(fsys fs.FS) error {
	raw, err := fs.ReadFile(fsys, ManifestFile)
	if err != nil {
		return fmt.Errorf("archive: %w", err)
	}
	want := map[string]string{}
	if err := json.Unmarshal(raw, &want); err != nil {
		return fmt.Errorf("archive: %s: %w", ManifestFile, err)
	}
	if again, err := json.MarshalIndent(want, "", "  "); err != nil || !bytes.Equal(append(again, '\n'), raw) {
		return fmt.Errorf("archive: %s is not in the form in which it was written", ManifestFile)
	}
	var bad []string
	err = fs.WalkDir(fsys, ".", func(name string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() || name == ManifestFile {
			return err
		}
		sum, err := fileDigest(fsys, name)
		if sum != want[name] {
			bad = append(bad, name)
		}
		delete(want, name)
		return err
	})
	if err != nil {
		return fmt.Errorf("archive: %w", err)
	}
	bad = append(bad, slices.Sorted(maps.Keys(want))...)
	if len(bad) > 0 {
		return fmt.Errorf("archive: changed, missing or added: %s", strings.Join(bad, ", "))
	}
	return nil
}

// fileDigest gives what contract.Digest gives for the bytes of a file, without holding them.
func fileDigest(fsys fs.FS, name string) (string, error) {
	f, err := fsys.Open(name)
	if err != nil {
		return "", err
	}
	defer func() { _ = f.Close() }()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return "", err
	}
	return "sha256:" + hex.EncodeToString(h.Sum(nil)), nil
}

// ReadExcerpt reads what an archive says that it holds.
func ReadExcerpt(fsys fs.FS) (*Excerpt, error) {
	raw, err := fs.ReadFile(fsys, ExcerptFile)
	if err != nil {
		return nil, err
	}
	var e Excerpt
	if err := json.Unmarshal(raw, &e); err != nil {
		return nil, fmt.Errorf("%s: %w", ExcerptFile, err)
	}
	return &e, nil
}
