// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// procStat is what /proc says about a process.
type procStat struct {
	PID       int
	PPID      int
	State     string
	StartTime uint64 // clock ticks since boot: with the pid, it names one process for ever
}

// parseStat reads /proc/PID/stat. The command name may hold spaces and parentheses, so fields are counted from the last one.
func parseStat(text string) (procStat, error) {
	open, end := strings.IndexByte(text, '('), strings.LastIndexByte(text, ')')
	if open < 0 || end < open {
		return procStat{}, fmt.Errorf("stat has no command name: %q", text)
	}
	fields := strings.Fields(text[end+1:])
	if len(fields) < 20 {
		return procStat{}, fmt.Errorf("stat has %d fields after the name", len(fields))
	}
	pid, err1 := strconv.Atoi(strings.TrimSpace(text[:open]))
	ppid, err2 := strconv.Atoi(fields[1])
	start, err3 := strconv.ParseUint(fields[19], 10, 64)
	for _, err := range []error{err1, err2, err3} {
		if err != nil {
			return procStat{}, err
		}
	}
	return procStat{PID: pid, PPID: ppid, State: fields[0], StartTime: start}, nil
}

func readStat(pid int) (procStat, error) {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return procStat{}, err
	}
	return parseStat(string(data))
}

// sameProcess says whether this very process still runs; a zombie does not.
func sameProcess(pid int, startTime uint64) bool {
	s, err := readStat(pid)
	return err == nil && s.StartTime == startTime && s.State != "Z" && s.State != "X"
}

func allProcesses() []procStat {
	var all []procStat
	dirs, _ := filepath.Glob("/proc/[0-9]*")
	for _, dir := range dirs {
		pid, err := strconv.Atoi(filepath.Base(dir))
		if err != nil {
			continue
		}
		if s, err := readStat(pid); err == nil && s.State != "Z" && s.State != "X" {
			all = append(all, s)
		}
	}
	return all
}

func argvOf(pid int) []string {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	if err != nil || len(data) == 0 {
		return nil
	}
	return strings.Split(string(bytes.TrimSuffix(data, []byte{0})), "\x00")
}

// findByArgv finds a process with exactly these arguments. Each of the cluster's processes has a path of the state folder
// among its arguments, so it can be no other's.
func findByArgv(argv []string) (procStat, bool) {
	for _, s := range allProcesses() {
		if slices.Equal(argvOf(s.PID), argv) {
			return s, true
		}
	}
	return procStat{}, false
}

// descendants lists the processes below the roots, roots included, parents before children.
func descendants(all []procStat, roots []procStat) []procStat {
	children := map[int][]procStat{}
	for _, s := range all {
		children[s.PPID] = append(children[s.PPID], s)
	}
	found := append([]procStat(nil), roots...)
	for i := 0; i < len(found); i++ {
		found = append(found, children[found[i].PID]...)
	}
	return found
}
