// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"os"
	"slices"
	"text/tabwriter"
)

// runStatus says which processes run. It fails when one that was started does not run any more.
func runStatus(ctx context.Context, l Layout, _ []string) error {
	names := recordedNames(l)
	if len(names) == 0 {
		fmt.Println("the cluster is down; state:", l.State())
		return nil
	}
	slices.Sort(names)
	dead := 0
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "PROCESS\tPID\tSTATE\tLOG")
	for _, name := range names {
		r, _ := readRecord(l, name)
		state := "running"
		if !r.alive() {
			state = "dead"
			dead++
		}
		fmt.Fprintf(w, "%s\t%d\t%s\t%s\n", name, r.PID, state, logPath(l, name))
	}
	w.Flush()
	if dead > 0 {
		return fmt.Errorf("%d processes are dead: `cluster up` starts them again", dead)
	}
	out, err := kubectl(ctx, l, "", "get", "nodes,deployments", "-A", "-o", "wide")
	fmt.Print("\n", out)
	return err
}
