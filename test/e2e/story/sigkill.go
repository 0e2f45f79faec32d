package story

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// SIGKILL kills every process of a container of the local cluster, which runs on this machine, and gives how many there were. Deleting a pod,
// also by force, lets its processes have at least a second; this leaves them none. The id is that of a pod's status, such as
// containerd://452b51a7236e.
func SIGKILL(container string) (killed int, err error) {
	_, id, ok := strings.Cut(container, "://")
	if !ok || id == "" {
		return 0, fmt.Errorf("container id %q: want <runtime>://<id>", container)
	}
	all, err := filepath.Glob("/proc/[0-9]*/cgroup")
	if err != nil {
		return 0, err
	}
	for _, file := range all {
		raw, err := os.ReadFile(file)
		if err != nil || !strings.Contains(string(raw), id) {
			continue // another's, or one that ended meanwhile
		}
		pid, err := strconv.Atoi(filepath.Base(filepath.Dir(file)))
		if err != nil {
			return killed, err
		}
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil && !errors.Is(err, syscall.ESRCH) {
			return killed, fmt.Errorf("kill %d: %w", pid, err)
		}
		killed++
	}
	if killed == 0 {
		return 0, fmt.Errorf("no process of container %s is on this machine", id)
	}
	return killed, nil
}
