package auth

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"sync"
)

// maxReturning bounds whom an edge node remembers, and so its memory and the file: some 6 MiB.
const maxReturning = 1 << 16

// returning remembers at an edge node whom it let in under a live lease, by client id the name of the connection with its stamp (see
// Identity.User). When the line stays cut for longer than the lease lasts, these may come back, and nobody else. It proves nothing for
// anyone: who comes back shows the credential again, and a stamp of another one does not fit.
type returning struct {
	file string

	mu    sync.Mutex
	users map[string]string
	// changed says that the file is behind.
	changed bool
}

// openReturning reads the file in a folder. One that cannot be read is said; then nobody is known, which shuts out rather than lets in.
func openReturning(stateDir string) (*returning, error) {
	r := &returning{file: filepath.Join(stateDir, "returning.json"), users: map[string]string{}}
	raw, err := os.ReadFile(r.file)
	if errors.Is(err, fs.ErrNotExist) {
		return r, nil
	}
	users := map[string]string{}
	if err == nil {
		err = json.Unmarshal(raw, &users)
	}
	if err != nil {
		return r, fmt.Errorf("devices that may come back: %w", err)
	}
	r.users = users
	return r, nil
}

// note remembers a device that was let in under a live lease. The centre, where r is nil, remembers nobody.
func (r *returning) note(id Identity) {
	if r == nil || id.ClientID == "" {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	was, known := r.users[id.ClientID]
	if user := id.User(); user != was && (known || len(r.users) < maxReturning) {
		r.users[id.ClientID], r.changed = user, true
	}
}

// knows says whether a device was let in before, by what it shows now.
func (r *returning) knows(id Identity) bool {
	if r == nil || id.ClientID == "" {
		return false
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.users[id.ClientID] == id.User()
}

// retain forgets whom a newer bundle does not admit, or not so.
func (r *returning) retain(stays func(user, clientID string) bool) {
	if r == nil {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	before := len(r.users)
	maps.DeleteFunc(r.users, func(clientID, user string) bool { return !stays(user, clientID) })
	r.changed = r.changed || len(r.users) != before
}

// save replaces the file whole and on disk, if it is behind. A device that was let in since is not known after a crash: it is shut out.
func (r *returning) save() error {
	r.mu.Lock()
	raw, err := json.Marshal(r.users)
	due := r.changed
	r.changed = false
	r.mu.Unlock()
	if !due || err != nil {
		return err
	}
	if err = write0600(r.file, raw); err != nil {
		r.mu.Lock()
		r.changed = true
		r.mu.Unlock()
		return fmt.Errorf("devices that may come back: %w", err)
	}
	return nil
}

// write0600 writes a file beside, brings it to the disk, and puts it in place.
func write0600(file string, raw []byte) error {
	tmp, err := os.OpenFile(file+".new", os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = tmp.Write(raw)
	if err = errors.Join(err, tmp.Sync(), tmp.Close()); err != nil {
		return err
	}
	return os.Rename(file+".new", file)
}
