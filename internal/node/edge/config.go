package edge

import (
	"errors"
	"fmt"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"strings"

	"sigs.k8s.io/yaml"

	"github.com/dizuo/dizuo/internal/contract"
	"github.com/dizuo/dizuo/internal/node/edge/outbox"
)

// Load reads an edge node's configuration, refuses fields that it does not know, and checks it.
func Load(file string) (contract.EdgeConfig, error) {
	var c contract.EdgeConfig
	raw, err := os.ReadFile(file)
	if err != nil {
		return c, fmt.Errorf("edge configuration: %w", err)
	}
	if err := yaml.UnmarshalStrict(raw, &c); err != nil {
		return c, fmt.Errorf("edge configuration %s: %w", file, err)
	}
	if err := check(c); err != nil {
		return c, fmt.Errorf("edge configuration %s: %w", file, err)
	}
	return c, nil
}

func check(c contract.EdgeConfig) error {
	hub, err := url.Parse(c.Hub)
	switch {
	case !strings.Contains(c.Platform, "/") || path.Base(c.Platform) == ".":
		return fmt.Errorf("platform %q: write <namespace>/<name>", c.Platform)
	case !contract.ValidFleet(c.Edge):
		return fmt.Errorf("edge %q: write the name of the EdgeNode", c.Edge)
	case err != nil || hub.Scheme != "wss" || hub.Host == "":
		return fmt.Errorf("hub %q: write wss://<host>:<port>", c.Hub)
	case c.StateDir == "":
		return errors.New("stateDir: write a folder that only this program can read")
	case c.StorageBytes < 1<<20:
		return fmt.Errorf("storageBytes: %d; write at least 1048576", c.StorageBytes)
	case len(c.Hostnames) == 0:
		return errors.New("hostnames: write at least one name or address that devices connect to")
	}
	return nil
}

// files are what lies in the folder of an edge node.
type files struct{ dir string }

func (f files) in(name string) string { return filepath.Join(f.dir, name) }

func (f files) key() string       { return f.in("edge.key") }
func (f files) serverKey() string { return f.in("server.key") }
func (f files) trust() string     { return f.in("trust.pem") }
func (f files) ballast() string   { return f.in("ballast") }
func (f files) store() string     { return f.in("store") }
func (f files) outbox() string    { return outbox.File(f.dir) }

// client is the certificate that the node shows to the hub, server the one of its own listener.
func (f files) client(hubCA string) contract.TLSFiles {
	return contract.TLSFiles{CertFile: f.in("edge.crt"), KeyFile: f.key(), CAFile: hubCA}
}

func (f files) server() contract.TLSFiles {
	return contract.TLSFiles{CertFile: f.in("server.crt"), KeyFile: f.serverKey()}
}
