package fetch

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"

	"github.com/dizuo/dizuo/internal/contract/decisionlog"
)

// folder is written beside the place where it is to stand, and gets there whole. Until then its lines lie in files that are none of a log, so
// that what a killed process leaves verifies as nothing.
type folder struct {
	dir, temp string
	root      *os.Root
	// lines is the file of lines that is being written, of chain, and unnamed are those that wait for their names.
	lines   *file
	chain   string
	unnamed []string
}

// pending is behind the names of files of lines until all is there.
const pending = ".fetching"

func newFolder(dir string) (*folder, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	if len(entries) > 0 {
		return nil, fmt.Errorf("%s is not empty; name a folder that is not there", dir)
	}
	temp, err := os.MkdirTemp(filepath.Dir(dir), "."+filepath.Base(dir)+pending+"-*")
	if err != nil {
		return nil, err
	}
	root, err := os.OpenRoot(temp)
	if err != nil {
		return nil, err
	}
	return &folder{dir: dir, temp: temp, root: root}, nil
}

// discard removes what was not published.
func (o *folder) discard() {
	if o.lines != nil {
		_ = o.lines.File.Close()
	}
	_ = o.root.Close()
	_ = os.RemoveAll(o.temp)
}

// publish gives the folder its place. An empty one that stands there goes; anything else stays, and it is an error.
func (o *folder) publish() error {
	if err := o.endLines(); err != nil {
		return err
	}
	for _, name := range slices.Backward(o.unnamed) { // the first line comes last
		if err := o.root.Rename(name+pending, name); err != nil {
			return err
		}
	}
	if err := o.syncFolders(); err != nil {
		return err
	}
	if err := os.Remove(o.dir); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := os.Rename(o.temp, o.dir); err != nil {
		return err
	}
	return syncDir(filepath.Dir(o.dir))
}

func (o *folder) syncFolders() error {
	return filepath.WalkDir(o.temp, func(name string, e fs.DirEntry, err error) error {
		if err != nil || !e.IsDir() {
			return err
		}
		return syncDir(name)
	})
}

func syncDir(name string) error {
	d, err := os.Open(name)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// file is a buffered file that is on disk when it is closed.
type file struct {
	*bufio.Writer
	*os.File
	size int64
}

func (w *file) Write(p []byte) (int, error) {
	w.size += int64(len(p))
	return w.Writer.Write(p)
}

func (w *file) close() error { return errors.Join(w.Flush(), w.Sync(), w.File.Close()) }

// create makes a file that is not there, with its folder.
func (o *folder) create(name string) (*file, error) {
	if err := o.root.MkdirAll(path.Dir(name), 0o700); err != nil {
		return nil, err
	}
	f, err := o.root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return nil, err
	}
	return &file{Writer: bufio.NewWriterSize(f, 1<<18), File: f}, nil
}

// file writes a whole file.
func (o *folder) file(name string, data []byte) error {
	w, err := o.create(name)
	if err != nil {
		return err
	}
	_, err = w.Write(data)
	return errors.Join(err, w.close())
}

func (o *folder) has(name string) bool {
	_, err := o.root.Stat(name)
	return err == nil
}

// line adds a line to a chain, in a new file where the last one is full.
func (o *folder) line(chain string, sequence int64, line []byte) error {
	if o.lines == nil || o.chain != chain || o.lines.size >= fileBytes {
		if err := o.endLines(); err != nil {
			return err
		}
		name := path.Join(chain, decisionlog.FileName(sequence))
		var err error
		if o.lines, err = o.create(name + pending); err != nil {
			return err
		}
		o.chain, o.unnamed = chain, append(o.unnamed, name)
	}
	_, err := o.lines.Write(line)
	return err
}

func (o *folder) endLines() error {
	if o.lines == nil {
		return nil
	}
	w := o.lines
	o.lines = nil
	return w.close()
}
