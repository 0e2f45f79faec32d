// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"debug/elf"
	"errors"
	"flag"
	"fmt"
	"strings"
)

type stringList []string

func (s *stringList) String() string     { return strings.Join(*s, ",") }
func (s *stringList) Set(v string) error { *s = append(*s, v); return nil }

func runImage(ctx context.Context, l Layout, args []string) error {
	flags := flag.NewFlagSet("image", flag.ContinueOnError)
	var binaries stringList
	image := flags.String("name", "", "name of the image, for example dizuo/node:dev")
	flags.Var(&binaries, "bin", "static binary to put in (repeat for more); the first is the entrypoint")
	user := flags.String("user", "65532", "UID that it runs as")
	entrypoint := flags.String("entrypoint", "", "path in the image to run instead of the first binary")
	out := flags.String("out", "", "where to write the archive (default: the cache)")
	noLoad := flags.Bool("no-load", false, "only write the archive")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if *image == "" || len(binaries) == 0 || flags.NArg() > 0 {
		return errors.New("say what to make: cluster image --name NAME --bin PATH, with --bin once for each binary")
	}
	for _, b := range binaries {
		if err := checkStatic(b); err != nil {
			return err
		}
	}
	spec := staticImage(normalName(*image), *user, binaries...)
	if *entrypoint != "" {
		spec.Entrypoint = []string{*entrypoint}
	}
	if *out == "" {
		*out = imageTar(l, spec.Name)
	}
	if err := writeImage(spec, *out); err != nil {
		return err
	}
	fmt.Println("wrote", *out)
	if *noLoad {
		return nil
	}
	return importAndSay(ctx, l, spec.Name, *out)
}

func importAndSay(ctx context.Context, l Layout, image, path string) error {
	if err := importTar(ctx, l, path); err != nil {
		return fmt.Errorf("%w; is the cluster up? `cluster up` starts it", err)
	}
	fmt.Println("loaded", image)
	return nil
}

func runLoad(ctx context.Context, l Layout, args []string) error {
	if len(args) == 0 {
		return errors.New("say what to load: cluster load NAME=BINARY, or cluster load TAR")
	}
	for _, arg := range args {
		image, path, named := strings.Cut(arg, "=")
		if !named {
			image, path = "", arg
		}
		if checkStatic(path) != nil {
			if err := importAndSay(ctx, l, path, path); err != nil {
				return err
			}
			continue
		}
		if image == "" {
			return fmt.Errorf("%s is a binary: say NAME=%s", path, path)
		}
		if err := runImage(ctx, l, []string{"--name", image, "--bin", path}); err != nil {
			return err
		}
	}
	return nil
}

// normalName is the name under which containerd and the kubelet look an image up.
func normalName(image string) string {
	first, _, found := strings.Cut(image, "/")
	switch {
	case !found:
		return "docker.io/library/" + image
	case strings.ContainsAny(first, ".:") || first == "localhost":
		return image
	default:
		return "docker.io/" + image
	}
}

// checkStatic fails unless the file is a program that needs no loader, which an image of binaries does not have.
func checkStatic(path string) error {
	f, err := elf.Open(path)
	if err != nil {
		return fmt.Errorf("%s is not a Linux binary: %w", path, err)
	}
	defer f.Close()
	for _, p := range f.Progs {
		if p.Type == elf.PT_INTERP {
			return fmt.Errorf("%s is linked dynamically: build it with CGO_ENABLED=0", path)
		}
	}
	return nil
}
