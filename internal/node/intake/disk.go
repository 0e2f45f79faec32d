package intake

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/dizuo/dizuo/internal/contract"
)

// disk keeps the last good bundle: shards by content first, then lease and index in one
// rename, so that a crash between two writes leaves the former bundle whole.
type disk struct{ dir string }

const keptFile = "bundle.json"

func openDisk(stateDir string) (disk, error) {
	dir := filepath.Join(stateDir, "bundle")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return disk{}, fmt.Errorf("bundle folder: %w", err)
	}
	return disk{dir}, nil
}

func fileName(kind, digest string) string { return kind + "-" + strings.ReplaceAll(digest, ":", "-") }

func (d disk) writeShard(ref contract.ShardRef, raw []byte) error {
	return d.write(fileName("shard", ref.Digest), raw)
}

func (d disk) readShard(ref contract.ShardRef) ([]byte, error) {
	return os.ReadFile(filepath.Join(d.dir, fileName("shard", ref.Digest)))
}

// kept is the lease in force and the index that it names, in one file: neither is ever there without the other.
type kept struct {
	Lease string         `json:"lease"`
	Index contract.Index `json:"index"`
}

func (d disk) writeKept(k kept) error {
	raw, err := json.Marshal(k)
	if err != nil {
		return err
	}
	return d.write(keptFile, raw)
}

// read gives an empty lease when nothing was kept yet.
func (d disk) read() (kept, error) {
	var k kept
	raw, err := os.ReadFile(filepath.Join(d.dir, keptFile))
	if errors.Is(err, fs.ErrNotExist) {
		return k, nil
	}
	if err != nil {
		return k, err
	}
	return k, json.Unmarshal(raw, &k)
}

// write replaces a file whole: temporary file, fsync, rename, fsync of the folder.
func (d disk) write(name string, raw []byte) error {
	tmp, err := os.CreateTemp(d.dir, "."+name+"-*")
	if err != nil {
		return fmt.Errorf("keep bundle: %w", err)
	}
	defer func() { _ = os.Remove(tmp.Name()) }()
	_, err = tmp.Write(raw)
	if err = errors.Join(err, tmp.Sync(), tmp.Close()); err == nil {
		err = os.Rename(tmp.Name(), filepath.Join(d.dir, name))
	}
	if err != nil {
		return fmt.Errorf("keep bundle: %w", err)
	}
	folder, err := os.Open(d.dir)
	if err != nil {
		return fmt.Errorf("keep bundle: %w", err)
	}
	return errors.Join(folder.Sync(), folder.Close())
}

// prune removes shards that the index does not name. Failing to is harmless.
func (d disk) prune(index contract.Index) {
	named := map[string]bool{}
	for _, ref := range index.Shards {
		named[fileName("shard", ref.Digest)] = true
	}
	entries, _ := os.ReadDir(d.dir)
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), "shard-") && !named[e.Name()] {
			_ = os.Remove(filepath.Join(d.dir, e.Name()))
		}
	}
}
