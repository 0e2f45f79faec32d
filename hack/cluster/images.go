// SPDX-License-Identifier: Apache-2.0

package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"sort"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
)

// Images that the kit makes by itself.
const (
	pauseImage       = "docker.io/dizuo/pause:dev"
	corednsImage     = "docker.io/dizuo/coredns:dev"
	certManagerImage = "docker.io/dizuo/cert-manager:dev"
	postgresImage    = "docker.io/dizuo/postgres:15-dev"
)

// imageFile is one entry of an image: a file of this machine, literal content, a link or a folder.
type imageFile struct {
	Path    string // inside the image, absolute
	From    string // file of this machine
	Content []byte
	Link    string
	Dir     bool
	Mode    int64
	UID     int
}

// imageSpec is what an image is made of.
type imageSpec struct {
	Name       string
	Files      []imageFile
	User       string
	Entrypoint []string
	Cmd        []string
	Env        []string
	StopSignal string
	Ports      []string
}

// usersFile gives names to the UIDs that images run as; some programs refuse a UID without a name.
const usersFile = "root:x:0:0:root:/root:/sbin/nologin\n" +
	"postgres:x:26:26:PostgreSQL:/var/lib/postgresql:/bin/sh\n" +
	"postgres70:x:70:70:PostgreSQL:/var/lib/postgresql:/bin/sh\n" +
	"postgres999:x:999:999:PostgreSQL:/var/lib/postgresql:/bin/sh\n" +
	"nonroot:x:65532:65532:nonroot:/home/nonroot:/sbin/nologin\n" +
	"nobody:x:65534:65534:nobody:/:/sbin/nologin\n"

const groupsFile = "root:x:0:\npostgres:x:26:\npostgres70:x:70:\npostgres999:x:999:\nnonroot:x:65532:\nnogroup:x:65534:\n"

// baseFiles are in every image: users, a place for temporary files, and the machine's CA certificates where it has some.
func baseFiles() []imageFile {
	files := []imageFile{
		{Path: "/etc/passwd", Content: []byte(usersFile), Mode: 0o644},
		{Path: "/etc/group", Content: []byte(groupsFile), Mode: 0o644},
		{Path: "/etc/nsswitch.conf", Content: []byte("passwd: files\ngroup: files\nhosts: files dns\n"), Mode: 0o644},
		{Path: "/tmp", Dir: true, Mode: 0o1777},
		{Path: "/home/nonroot", Dir: true, Mode: 0o755, UID: 65532},
	}
	if certs := "/etc/ssl/certs/ca-certificates.crt"; fileExists(certs) {
		files = append(files, imageFile{Path: certs, From: certs, Mode: 0o644})
	}
	return files
}

// staticImage is an image of static binaries, each at the root of the image under its own name.
func staticImage(image, user string, binaries ...string) imageSpec {
	spec := imageSpec{Name: image, Files: baseFiles(), User: user, Entrypoint: []string{"/" + filepath.Base(binaries[0])}}
	for _, b := range binaries {
		spec.Files = append(spec.Files, imageFile{Path: "/" + filepath.Base(b), From: b, Mode: 0o755})
	}
	return spec
}

// layerTar writes the files as a tar with fixed times and sorted paths: the same files give the same image.
func layerTar(files []imageFile) ([]byte, error) {
	sorted := append([]imageFile(nil), files...)
	slices.SortFunc(sorted, func(a, b imageFile) int { return strings.Compare(a.Path, b.Path) })
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	for _, f := range sorted {
		if err := writeEntry(w, f); err != nil {
			return nil, fmt.Errorf("%s: %w", f.Path, err)
		}
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	return buf.Bytes(), nil
}

func writeEntry(w *tar.Writer, f imageFile) error {
	h := &tar.Header{Name: strings.TrimPrefix(f.Path, "/"), Mode: f.Mode, Uid: f.UID, Gid: f.UID, Typeflag: tar.TypeReg}
	content := f.Content
	switch {
	case f.Dir:
		h.Typeflag, h.Name = tar.TypeDir, h.Name+"/"
	case f.Link != "":
		h.Typeflag, h.Linkname = tar.TypeSymlink, f.Link
	case f.From != "":
		var err error
		if content, err = os.ReadFile(f.From); err != nil {
			return err
		}
	}
	h.Size = int64(len(content))
	if err := w.WriteHeader(h); err != nil {
		return err
	}
	_, err := w.Write(content)
	return err
}

// writeImage writes the image as an archive that containerd, Docker and kind can load.
func writeImage(spec imageSpec, out string) error {
	layerBytes, err := layerTar(spec.Files)
	if err != nil {
		return err
	}
	open := func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(layerBytes)), nil }
	layer, err := tarball.LayerFromOpener(open, tarball.WithCompressionLevel(gzip.BestSpeed))
	if err != nil {
		return err
	}
	image, err := mutate.AppendLayers(empty.Image, layer)
	if err != nil {
		return err
	}
	if image, err = mutate.ConfigFile(image, spec.config(image)); err != nil {
		return err
	}
	tag, err := name.NewTag(spec.Name)
	if err != nil {
		return fmt.Errorf("image name %q: %w", spec.Name, err)
	}
	if err := os.MkdirAll(filepath.Dir(out), 0o755); err != nil {
		return err
	}
	tmp := out + ".tmp"
	if err := tarball.WriteToFile(tmp, tag, image); err != nil {
		return err
	}
	return os.Rename(tmp, out)
}

func (s imageSpec) config(image v1.Image) *v1.ConfigFile {
	config, err := image.ConfigFile()
	if err != nil {
		config = &v1.ConfigFile{}
	}
	config = config.DeepCopy()
	config.OS, config.Architecture = "linux", goarch()
	config.Config.User, config.Config.Entrypoint, config.Config.Cmd = s.User, s.Entrypoint, s.Cmd
	config.Config.Env = append([]string{"PATH=/usr/local/bin:/usr/bin:/bin:/"}, s.Env...)
	config.Config.StopSignal = s.StopSignal
	config.Config.ExposedPorts = map[string]struct{}{}
	for _, p := range s.Ports {
		config.Config.ExposedPorts[p] = struct{}{}
	}
	return config
}

// key changes when anything in the image changes. Files of this machine are told apart by size and time, not read:
// this runs at every `up`.
func (s imageSpec) key() (string, error) {
	words := []string{s.Name, s.User, strings.Join(s.Entrypoint, " "), strings.Join(s.Cmd, " "), strings.Join(s.Env, " "), s.StopSignal, goarch()}
	for _, f := range s.Files {
		words = append(words, fmt.Sprintf("%s %s %t %o %d %s", f.Path, f.Link, f.Dir, f.Mode, f.UID, f.Content))
		if f.From == "" {
			continue
		}
		info, err := os.Stat(f.From)
		if err != nil {
			return "", err
		}
		words = append(words, fmt.Sprintf("%s %d %d", f.From, info.Size(), info.ModTime().UnixNano()))
	}
	sort.Strings(words) // the order in which libraries are found may vary
	return buildKey(words, nil)
}

func imageTar(l Layout, image string) string {
	return filepath.Join(l.Images(), imageSlug(image)+".tar")
}

func imageSlug(image string) string {
	return strings.NewReplacer("/", "_", ":", "_").Replace(strings.TrimPrefix(image, "docker.io/"))
}

// ensureImage makes the archive if need be, and gives its key.
func ensureImage(l Layout, spec imageSpec) (string, error) {
	key, err := spec.key()
	if err != nil {
		return "", err
	}
	out := imageTar(l, spec.Name)
	if upToDate(l, "image-"+imageSlug(spec.Name), out, key) {
		return key, nil
	}
	if err := writeImage(spec, out); err != nil {
		return "", err
	}
	return key, recordKey(l, "image-"+imageSlug(spec.Name), key)
}

// kitImages are the images that every cluster has.
func kitImages(l Layout) ([]imageSpec, error) {
	postgres, err := postgresSpec(l)
	if err != nil {
		return nil, err
	}
	return []imageSpec{
		staticImage(pauseImage, "65535", l.Tool("pause")),
		staticImage(corednsImage, "65532", l.Tool("coredns")),
		staticImage(certManagerImage, "65532", l.Tool("cert-manager")),
		postgres,
	}, nil
}

// loadKitImages makes what is out of date and imports what containerd does not have yet.
func loadKitImages(ctx context.Context, l Layout) error {
	specs, err := kitImages(l)
	if err != nil {
		return err
	}
	for _, spec := range specs {
		key, err := ensureImage(l, spec)
		if err != nil {
			return fmt.Errorf("image %s: %w", spec.Name, err)
		}
		loaded := l.State("images", imageSlug(spec.Name))
		if data, err := os.ReadFile(loaded); err == nil && string(data) == key {
			continue
		}
		if err := importTar(ctx, l, imageTar(l, spec.Name)); err != nil {
			return err
		}
		if err := writeIfChanged(loaded, []byte(key), 0o644); err != nil {
			return err
		}
	}
	return nil
}

func importTar(ctx context.Context, l Layout, path string) error {
	return ctr(ctx, l, "--namespace", "k8s.io", "images", "import", path)
}

// ctr runs containerd's client against the cluster's own containerd.
func ctr(ctx context.Context, l Layout, args ...string) error {
	all := append([]string{"--address", l.ContainerdSocket()}, args...)
	out, err := exec.CommandContext(ctx, hostTool("ctr"), all...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("ctr %s: %w: %s", strings.Join(args, " "), err, lastLines(string(out), 5))
	}
	return nil
}
