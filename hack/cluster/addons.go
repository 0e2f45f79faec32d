// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	_ "embed"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

//go:embed manifests/coredns.yaml
var corednsManifest string

//go:embed manifests/cert-manager.yaml
var certManagerManifest string

// applyAddons installs cluster DNS and cert-manager, and waits until both run.
func applyAddons(ctx context.Context, l Layout) error {
	_, upstream, err := podResolvConf("/etc/resolv.conf")
	if err != nil {
		return err
	}
	crds, err := os.ReadFile(filepath.Join(l.Manifests(), "cert-manager-crds.yaml"))
	if err != nil {
		return fmt.Errorf("%w; `cluster build cert-manager` writes it", err)
	}
	dns := fillManifest(corednsManifest, corednsImage, imageKey(l, corednsImage), upstream)
	issuer := fillManifest(certManagerManifest, certManagerImage, imageKey(l, certManagerImage), upstream)
	for _, manifest := range []string{dns, string(crds), issuer} {
		if err := apply(ctx, l, manifest); err != nil {
			return err
		}
	}
	return nil
}

// fillManifest puts addresses and images in. The image's key makes a Deployment roll when the image changes under the
// same name. Forwarding is left out where pods can reach no other name server.
func fillManifest(manifest, image, key string, upstream bool) string {
	forward := ""
	if upstream {
		forward = "forward . /etc/resolv.conf"
	}
	return strings.NewReplacer("IMAGE_KEY", `"`+key+`"`, "IMAGE", image, "CLUSTER_DOMAIN", clusterDomain,
		"FORWARD", forward, "DNS_IP", dnsServiceIP).Replace(manifest)
}

// imageKey is a short name for the content of an image of the kit.
func imageKey(l Layout, image string) string {
	return fmt.Sprintf("%.12s", recordedKey(l, "image-"+imageSlug(image)))
}

func waitAddons(ctx context.Context, l Layout) error {
	for _, d := range [][2]string{{"kube-system", "coredns"}, {"cert-manager", "cert-manager"}} {
		if _, err := kubectl(ctx, l, "", "rollout", "status", "-n", d[0], "deployment/"+d[1], "--timeout=120s"); err != nil {
			return fmt.Errorf("%w; look at: kubectl describe pods -n %s", err, d[0])
		}
	}
	return waitFor(ctx, time.Minute, lookUpAPIServer)
}

// lookUpAPIServer asks the cluster's DNS through its Service. After a restart the Deployments' status is still that of before.
func lookUpAPIServer(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	resolver := net.Resolver{PreferGo: true, Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, network, net.JoinHostPort(dnsServiceIP, "53"))
	}}
	addresses, err := resolver.LookupHost(ctx, "kubernetes.default.svc."+clusterDomain+".")
	if err != nil {
		return fmt.Errorf("cluster DNS: %w", err)
	}
	if !slices.Contains(addresses, apiServiceIP) {
		return fmt.Errorf("cluster DNS says that the API server is at %v", addresses)
	}
	return nil
}

// apply uses server-side apply: cert-manager's CRDs are too large for the annotation that client-side apply keeps.
func apply(ctx context.Context, l Layout, manifest string) error {
	_, err := kubectl(ctx, l, manifest, "apply", "--server-side", "--force-conflicts", "--field-manager=dizuo-local", "-f", "-")
	return err
}

// kubectl runs the kit's own kubectl as administrator.
func kubectl(ctx context.Context, l Layout, stdin string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, l.Tool("kubectl"), append([]string{"--kubeconfig=" + l.Kubeconfig(), "--cache-dir=" + l.State("kubectl-cache")}, args...)...)
	cmd.Env = processEnv()
	cmd.Stdin = strings.NewReader(stdin)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("kubectl %s: %w: %s", strings.Join(args, " "), err, lastLines(stderr.String(), 8))
	}
	return string(out), nil
}
