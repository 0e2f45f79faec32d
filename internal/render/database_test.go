package render_test

import (
	"testing"

	"github.com/dizuo/dizuo/api/v1alpha1"
	"github.com/dizuo/dizuo/internal/compile"
)

// While data leaves a Cluster the spec has no settings for it, and defaults would change its instances or its image under the copy.
func TestAClusterThatDataLeavesIsLeftAlone(t *testing.T) {
	kinds := func(p compile.PlatformPlan) map[string]bool {
		offline := platform(t, "testdata/high-availability.in.yaml", compile.GroupBarman)
		offline.Plan.Database = p.Database
		out := map[string]bool{}
		for _, u := range objects(t, offline) {
			out[u.GetKind()+" "+u.GetName()] = true
		}
		return out
	}
	plan := platform(t, "testdata/high-availability.in.yaml", compile.GroupBarman).Plan
	if !kinds(plan)["Cluster dizuo-db"] {
		t.Fatal("no Cluster is rendered, so nothing was checked")
	}
	plan.Database.To = &compile.Database{Engine: v1alpha1.DatabaseManaged, Host: "dizuo-postgres.henan.svc", Port: 5432, Name: "dizuo", Owner: "dizuo"}
	for _, phase := range []compile.MovePhase{compile.MoveStopping, compile.MovePreparing, compile.MoveCopying, compile.MoveFailed, compile.MoveDone} {
		plan.Database.Phase = phase
		got := kinds(plan)
		for _, name := range []string{"Cluster dizuo-db", "ScheduledBackup dizuo-db", "Secret dizuo-db-owner"} {
			if got[name] {
				t.Errorf("%s: %s is written", phase, name)
			}
		}
		for _, name := range []string{"NetworkPolicy dizuo-db", "Certificate dizuo-db-tls"} {
			if !got[name] {
				t.Errorf("%s: %s is gone, and with it the way to the data", phase, name)
			}
		}
	}
}
