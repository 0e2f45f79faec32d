// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// Addresses of the cluster. All of them exist on this machine only.
const (
	nodeName      = "dizuo-local"
	bridgeName    = "dizuo0"
	podCIDR       = "10.213.0.0/16"
	nodePodCIDR   = "10.213.0.0/24"
	nodeIP        = "10.213.0.1" // the bridge's address
	serviceCIDR   = "10.214.0.0/16"
	apiServiceIP  = "10.214.0.1"
	dnsServiceIP  = "10.214.0.10"
	clusterDomain = "cluster.local"
	natTable      = "dizuo_local"
)

// natRules let pods reach what the machine reaches, and nothing else.
const natRules = `table ip ` + natTable + ` {
	chain postrouting {
		type nat hook postrouting priority srcnat; policy accept;
		ip saddr ` + podCIDR + ` ip daddr != { ` + podCIDR + `, ` + serviceCIDR + ` } masquerade
	}
}
`

// sysctls are the kernel settings the cluster needs; `down` puts the old values back.
// The last four are what the kubelet sets by itself.
var sysctls = []struct{ Path, Value string }{
	{"/proc/sys/net/ipv4/ip_forward", "1"},
	{"/proc/sys/net/bridge/bridge-nf-call-iptables", "1"},
	{"/proc/sys/fs/inotify/max_user_instances", "8192"},
	{"/proc/sys/vm/overcommit_memory", "1"},
	{"/proc/sys/vm/panic_on_oom", "0"},
	{"/proc/sys/kernel/panic", "10"},
	{"/proc/sys/kernel/panic_on_oops", "1"},
}

// oldSysctls holds the values of before, and shows that the kit has touched this machine's network.
const oldSysctls = "old-sysctls.json"

// prepareNetwork makes the bridge, its address, the route to Services and the NAT table.
func prepareNetwork(ctx context.Context, l Layout) error {
	if linkExists(bridgeName) && !fileExists(l.State(oldSysctls)) {
		return fmt.Errorf("the bridge %s is there, but not from this state folder: "+
			"take the cluster with the other DIZUO_CACHE down, or if there is none: ip link delete %[1]s", bridgeName)
	}
	if err := setSysctls(ctx, l); err != nil {
		return err
	}
	if !linkExists(bridgeName) {
		if err := refuseForeignNetwork(ctx, l); err != nil {
			return err
		}
		if err := hostRun(ctx, "ip", "link", "add", bridgeName, "type", "bridge"); err != nil {
			return err
		}
	}
	for _, args := range [][]string{
		{"address", "replace", nodeIP + "/24", "dev", bridgeName},
		{"link", "set", bridgeName, "up"},
		{"route", "replace", serviceCIDR, "dev", bridgeName},
	} {
		if err := hostRun(ctx, "ip", args...); err != nil {
			return err
		}
	}
	if hostRun(ctx, "nft", "list", "table", "ip", natTable) != nil {
		if err := nftLoad(ctx, natRules); err != nil {
			return err
		}
	}
	return writeIfChanged(l.State("cni", "10-dizuo.conflist"), []byte(cniConfig(l)), 0o644)
}

// refuseForeignNetwork stops before the kit would touch somebody else's addresses or Service rules.
func refuseForeignNetwork(ctx context.Context, l Layout) error {
	addresses, err := net.InterfaceAddrs()
	if err != nil {
		return err
	}
	for _, cidr := range []string{podCIDR, serviceCIDR} {
		_, ours, _ := net.ParseCIDR(cidr)
		for _, a := range addresses {
			if theirs, ok := a.(*net.IPNet); ok && (ours.Contains(theirs.IP) || theirs.Contains(ours.IP)) {
				return fmt.Errorf("the address %s of this machine overlaps the cluster's range %s", theirs, cidr)
			}
		}
	}
	if hostRun(ctx, "nft", "list", "table", "ip", "kube-proxy") == nil {
		if _, known := readRecord(l, "kube-proxy"); !known {
			return errors.New("this machine has a kube-proxy of another cluster (nft table ip kube-proxy): the kit would break it")
		}
	}
	return nil
}

func linkExists(name string) bool {
	_, err := net.InterfaceByName(name)
	return err == nil
}

func cniConfig(l Layout) string {
	config := map[string]any{
		"cniVersion": "1.0.0",
		"name":       "dizuo",
		"plugins": []any{map[string]any{
			"type": "bridge", "bridge": bridgeName, "isGateway": true, "hairpinMode": true,
			"ipam": map[string]any{
				"type":    "host-local",
				"dataDir": l.State("cni-addresses"),
				"ranges":  []any{[]any{map[string]string{"subnet": nodePodCIDR, "rangeStart": "10.213.0.10", "gateway": nodeIP}}},
				"routes":  []any{map[string]string{"dst": "0.0.0.0/0"}},
			},
		}},
	}
	out, err := json.MarshalIndent(config, "", "  ")
	if err != nil {
		panic(err) // the value above is made of strings
	}
	return string(out)
}

// setSysctls remembers each old value once, before the first change.
func setSysctls(ctx context.Context, l Layout) error {
	_ = hostRun(ctx, "modprobe", "br_netfilter") // built into some kernels; the write below tells
	old := map[string]string{}
	saved := l.State(oldSysctls)
	if data, err := os.ReadFile(saved); err == nil {
		if err := json.Unmarshal(data, &old); err != nil {
			return fmt.Errorf("%s: %w", saved, err)
		}
	} else {
		for _, s := range sysctls {
			if data, err := os.ReadFile(s.Path); err == nil {
				old[s.Path] = strings.TrimSpace(string(data))
			}
		}
		data, _ := json.MarshalIndent(old, "", "  ")
		if err := writeIfChanged(saved, data, 0o644); err != nil {
			return err
		}
	}
	for _, s := range sysctls {
		if err := os.WriteFile(s.Path, []byte(s.Value), 0o644); err != nil {
			return fmt.Errorf("%w; without bridge netfilter Services do not work between pods: modprobe br_netfilter", err)
		}
	}
	return nil
}

func restoreSysctls(l Layout) error {
	old := map[string]string{}
	data, err := os.ReadFile(l.State(oldSysctls))
	if err != nil {
		return nil // never changed
	}
	if err := json.Unmarshal(data, &old); err != nil {
		return err
	}
	for path, value := range old {
		if err := os.WriteFile(path, []byte(value), 0o644); err != nil {
			return err
		}
	}
	return nil
}

// removeNetwork takes away the bridge with its routes, and the tables of ours and of kube-proxy.
func removeNetwork(ctx context.Context, l Layout) error {
	if linkExists(bridgeName) {
		if err := hostRun(ctx, "ip", "link", "delete", bridgeName); err != nil {
			return err
		}
	}
	for _, table := range []string{"ip " + natTable, "ip kube-proxy", "ip6 kube-proxy"} {
		if hostRun(ctx, "nft", append([]string{"list", "table"}, strings.Fields(table)...)...) != nil {
			continue
		}
		if err := hostRun(ctx, "nft", append([]string{"delete", "table"}, strings.Fields(table)...)...); err != nil {
			return err
		}
	}
	return restoreSysctls(l)
}

func nftLoad(ctx context.Context, rules string) error {
	cmd := exec.CommandContext(ctx, hostTool("nft"), "-f", "-")
	cmd.Stdin = strings.NewReader(rules)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("nft: %w: %s", err, strings.TrimSpace(string(out)))
	}
	return nil
}

// hostRun runs a program of the host and gives its output in the error.
func hostRun(ctx context.Context, name string, args ...string) error {
	out, err := exec.CommandContext(ctx, hostTool(name), args...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s %s: %w: %s", name, strings.Join(args, " "), err, strings.TrimSpace(string(out)))
	}
	return nil
}

// hostTool finds a program also where a plain user's PATH does not look.
func hostTool(name string) string {
	if path, err := exec.LookPath(name); err == nil {
		return path
	}
	for _, dir := range []string{"/usr/sbin", "/sbin"} {
		if path := filepath.Join(dir, name); fileExists(path) {
			return path
		}
	}
	return name
}

func fileExists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}
