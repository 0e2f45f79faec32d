package story

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
)

// Local gives the Env of the local cluster (hack/cluster.sh) and a checkout whose binaries are built. The cluster's
// environment must be set: eval "$(hack/cluster.sh env)".
func Local(root string) (Env, error) {
	root, err := filepath.Abs(root)
	if err != nil {
		return Env{}, err
	}
	kubectl, err := exec.LookPath("kubectl")
	if err != nil {
		return Env{}, errors.New(`kubectl is not in PATH; run: eval "$(hack/cluster.sh env)"`)
	}
	if _, err := exec.LookPath("mosquitto_pub"); err != nil {
		return Env{}, errors.New("mosquitto_pub is not in PATH; on Debian: apt-get install mosquitto-clients")
	}
	env := Env{
		Root: root, Dizuo: filepath.Join(root, "bin", "dizuo"), Kubectl: kubectl,
		Memory:  []string{filepath.Join(root, "hack", "cluster.sh"), "memory", "-o", "json", "-n"},
		Figures: filepath.Join(root, "test", "bench", "out", "story.json"),
	}
	if _, err := os.Stat(env.Dizuo); err != nil {
		return env, fmt.Errorf("%w; build it: make build", err)
	}
	return env, nil
}
