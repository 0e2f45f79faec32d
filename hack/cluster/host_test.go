// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestParseStatWithSpacesInTheName(t *testing.T) {
	s, err := parseStat("42 (a (b) c) S 7 42 42 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 123456 1 1")
	if err != nil {
		t.Fatal(err)
	}
	if want := (procStat{PID: 42, PPID: 7, State: "S", StartTime: 123456}); s != want {
		t.Errorf("got %+v, want %+v", s, want)
	}
	if _, err := parseStat("42 nonsense"); err == nil {
		t.Error("a malformed line is accepted")
	}
}

func TestSameProcessNeedsTheStartTime(t *testing.T) {
	self, err := readStat(os.Getpid())
	if err != nil {
		t.Skip("no /proc here")
	}
	if !sameProcess(self.PID, self.StartTime) {
		t.Error("this process is not recognised")
	}
	if sameProcess(self.PID, self.StartTime+1) {
		t.Error("a reused pid passes for the old process")
	}
}

func TestDescendants(t *testing.T) {
	all := []procStat{{PID: 1}, {PID: 10, PPID: 1}, {PID: 11, PPID: 10}, {PID: 12, PPID: 11}, {PID: 20, PPID: 1}}
	var pids []int
	for _, s := range descendants(all, []procStat{{PID: 10, PPID: 1}}) {
		pids = append(pids, s.PID)
	}
	if !slices.Equal(pids, []int{10, 11, 12}) {
		t.Errorf("got %v", pids)
	}
}

func TestMountPointsBelow(t *testing.T) {
	table := `27 1 254:0 / / rw - ext4 /dev/vda rw
42 27 254:0 /s /cache/state/kubelet rw shared:1 - ext4 /dev/vda rw
43 27 254:0 /s /cache/state-of-another rw - ext4 /dev/vda rw
44 42 0:40 / /cache/state/kubelet/a\040b rw - tmpfs tmpfs rw
`
	points, err := mountPointsBelow(bufio.NewScanner(strings.NewReader(table)), "/cache/state")
	if err != nil {
		t.Fatal(err)
	}
	if want := []string{"/cache/state/kubelet", "/cache/state/kubelet/a b"}; !slices.Equal(points, want) {
		t.Errorf("got %q, want %q", points, want)
	}
}

func TestReachableNameservers(t *testing.T) {
	got := reachableNameservers("# comment\nnameserver 127.0.0.53\nnameserver 192.0.2.9\nnameserver ::1\nsearch example\n")
	if got != "nameserver 192.0.2.9\n" {
		t.Errorf("got %q", got)
	}
}

func TestDNSForwardsOnlyWhereItCan(t *testing.T) {
	with := fillManifest(corednsManifest, corednsImage, "k", true)
	without := fillManifest(corednsManifest, corednsImage, "k", false)
	if !strings.Contains(with, "forward . ") || strings.Contains(without, "forward . ") {
		t.Error("forwarding does not follow the machine's name servers")
	}
	for _, word := range []string{"IMAGE", "CLUSTER_DOMAIN", "DNS_IP", "FORWARD"} {
		if strings.Contains(with, word) {
			t.Errorf("%s is left in the manifest", word)
		}
	}
}

func TestEmptyFolder(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root to change owners")
	}
	dir := t.TempDir()
	if err := os.MkdirAll(filepath.Join(dir, "pgdata", "base"), 0o700); err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(dir, ".hidden"), "x")
	if err := emptyFolder(dir); err != nil {
		t.Fatal(err)
	}
	if left, _ := os.ReadDir(dir); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
}

func TestParseMemory(t *testing.T) {
	raw := `{"pods":[
	  {"podRef":{"name":"b","namespace":"n"},"containers":[{"name":"c","memory":{"workingSetBytes":5,"rssBytes":3}}]},
	  {"podRef":{"name":"a","namespace":"n"},"containers":[{"name":"c","memory":{"workingSetBytes":7}}]},
	  {"podRef":{"name":"z","namespace":"other"},"containers":[{"name":"c","memory":{}}]}]}`
	rows, err := parseMemory([]byte(raw), "n")
	if err != nil {
		t.Fatal(err)
	}
	if len(rows) != 2 || rows[0].Pod != "a" || rows[0].WorkingSetBytes != 7 || rows[1].RSSBytes != 3 {
		t.Errorf("got %+v", rows)
	}
}
