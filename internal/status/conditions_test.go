package status_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/fluxcd/cli-utils/pkg/kstatus/status"
	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/dizuo/dizuo/api/v1alpha1"
	"github.com/dizuo/dizuo/internal/compile"
	ours "github.com/dizuo/dizuo/internal/status"
)

var (
	start = time.Date(2026, 6, 1, 8, 0, 0, 0, time.UTC)

	invalid = compile.Problem{Condition: v1alpha1.ConditionAccepted, Reason: v1alpha1.ReasonInvalidSpec, Field: "spec.a", Message: "is wrong"}
	waits   = compile.Problem{Condition: v1alpha1.ConditionReferencesResolved, Reason: v1alpha1.ReasonSecretNotFound, Field: "spec.b", Message: "is not there", Waiting: true}
	partial = compile.Problem{Condition: v1alpha1.ConditionInventoryAccepted, Reason: v1alpha1.ReasonInvalidRows, Message: "1 of 2 rows", Partial: true}
	applied = ours.True(v1alpha1.ConditionApplied, v1alpha1.ReasonSucceeded, "stands")
	pending = ours.Waiting(v1alpha1.ConditionAvailable, v1alpha1.ReasonEnforcementPending, "waits for auth.0")
	stalled = ours.Named{Type: v1alpha1.ConditionApplied, Status: metav1.ConditionFalse, Reason: v1alpha1.ReasonConflict, Message: "is held", Stalled: true}
	unknown = ours.Named{Type: v1alpha1.ConditionReportsReceived, Status: metav1.ConditionUnknown, Reason: v1alpha1.ReasonUnknown, Message: "nobody answers"}
)

func one(t *testing.T, list []metav1.Condition, conditionType string) metav1.Condition {
	t.Helper()
	i := slices.IndexFunc(list, func(c metav1.Condition) bool { return c.Type == conditionType })
	if i < 0 {
		t.Fatalf("no condition %s in %v", conditionType, list)
	}
	return list[i]
}

// Every path must read the same to kstatus, by which Flux, Argo CD and kubectl wait.
func TestKstatus(t *testing.T) {
	for name, c := range map[string]struct {
		problems compile.Problems
		named    []ours.Named
		info     []ours.Named
		want     status.Status
		ready    string
	}{
		"fine":                          {nil, []ours.Named{applied}, nil, status.CurrentStatus, "all is well"},
		"nothing known but the spec":    {nil, nil, nil, status.CurrentStatus, "all is well"},
		"a part is rejected":            {compile.Problems{partial}, []ours.Named{applied}, nil, status.CurrentStatus, "all is well"},
		"invalid":                       {compile.Problems{invalid}, []ours.Named{applied}, nil, status.FailedStatus, "Accepted: spec.a: is wrong"},
		"waits for a reference":         {compile.Problems{waits}, nil, nil, status.InProgressStatus, "ReferencesResolved: spec.b: is not there"},
		"invalid before waiting":        {compile.Problems{waits, invalid}, nil, nil, status.FailedStatus, "Accepted: spec.a: is wrong"},
		"waiting before partial":        {compile.Problems{partial, waits}, nil, nil, status.InProgressStatus, "ReferencesResolved: spec.b: is not there"},
		"not in force yet":              {nil, []ours.Named{applied, pending}, nil, status.InProgressStatus, "Available: waits for auth.0"},
		"conflict":                      {nil, []ours.Named{stalled, pending}, nil, status.FailedStatus, "Applied: is held"},
		"the first blocker is named":    {nil, []ours.Named{pending, stalled}, nil, status.InProgressStatus, "Available: waits for auth.0"},
		"unknown":                       {nil, []ours.Named{applied, unknown}, nil, status.InProgressStatus, "ReportsReceived: nobody answers"},
		"problem before what it blocks": {compile.Problems{waits}, []ours.Named{stalled}, nil, status.InProgressStatus, "ReferencesResolved: spec.b: is not there"},
		"informative feeds not Ready":   {nil, []ours.Named{applied}, []ours.Named{ours.Waiting(v1alpha1.ConditionFullyEnforced, v1alpha1.ReasonEnforcersOffline, "edge-1 is away")}, status.CurrentStatus, "all is well"},
	} {
		t.Run(name, func(t *testing.T) {
			list := ours.Conditions(ours.Facts{Generation: 3, Problems: c.problems, Named: c.named, Informative: c.info, ReadyMessage: "all is well", Now: start})
			got := compute(t, list, 3)
			if got.Status != c.want {
				t.Errorf("kstatus says %s (%s), want %s; conditions %v", got.Status, got.Message, c.want, list)
			}
			if m := one(t, list, v1alpha1.ConditionReady).Message; m != c.ready {
				t.Errorf("Ready says %q, want %q", m, c.ready)
			}
			consistent(t, list)
		})
	}
}

func compute(t *testing.T, list []metav1.Condition, observed int64) *status.Result {
	t.Helper()
	o := &v1alpha1.Community{ObjectMeta: metav1.ObjectMeta{Name: "c", Namespace: "n", Generation: 3}}
	o.SetGroupVersionKind(v1alpha1.SchemeGroupVersion.WithKind("Community"))
	o.Status.Conditions, o.Status.ObservedGeneration = list, observed
	u, err := runtime.DefaultUnstructuredConverter.ToUnstructured(o)
	if err != nil {
		t.Fatal(err)
	}
	got, err := status.Compute(&unstructured.Unstructured{Object: u})
	if err != nil {
		t.Fatal(err)
	}
	return got
}

// consistent checks what must hold of every set of conditions.
func consistent(t *testing.T, list []metav1.Condition) {
	t.Helper()
	ready := one(t, list, v1alpha1.ConditionReady).Status == metav1.ConditionTrue
	busy := one(t, list, v1alpha1.ConditionReconciling).Status == metav1.ConditionTrue
	stuck := one(t, list, v1alpha1.ConditionStalled).Status == metav1.ConditionTrue
	if n := map[bool]int{true: 1}; n[ready]+n[busy]+n[stuck] != 1 {
		t.Errorf("Ready %v, Reconciling %v, Stalled %v: exactly one must hold", ready, busy, stuck)
	}
	if !slices.IsSortedFunc(list, func(a, b metav1.Condition) int { return strings.Compare(a.Type, b.Type) }) {
		t.Errorf("not sorted: %v", list)
	}
	for i, c := range list {
		if c.Reason == "" || c.ObservedGeneration != 3 || c.LastTransitionTime.IsZero() || (i > 0 && list[i-1].Type == c.Type) {
			t.Errorf("condition %+v has no reason, generation or time, or stands twice", c)
		}
	}
	if blocker, _, found := strings.Cut(one(t, list, v1alpha1.ConditionReady).Message, ":"); !ready && (!found || one(t, list, blocker).Status == metav1.ConditionTrue) {
		t.Errorf("Ready blames %q, which is True", blocker)
	}
}

// A new generation that nobody looked at is in progress whatever the old conditions say.
func TestKstatusOfAnUnobservedGeneration(t *testing.T) {
	list := ours.Conditions(ours.Facts{Generation: 2, ReadyMessage: "ok", Now: start})
	if got := compute(t, list, 2); got.Status != status.InProgressStatus {
		t.Errorf("kstatus says %s, want InProgress", got.Status)
	}
}

// What harms a part and what blocks the whole may fall on one condition: it must not read True while Ready blames it.
func TestAPartialProblemDoesNotHideABlocker(t *testing.T) {
	oidc := compile.Problem{Condition: v1alpha1.ConditionIdentitiesReady, Reason: v1alpha1.ReasonDisabled, Message: "not served", Partial: true}
	list := ours.Conditions(ours.Facts{Generation: 3, Problems: compile.Problems{oidc}, Now: start,
		Named: []ours.Named{ours.Waiting(v1alpha1.ConditionIdentitiesReady, v1alpha1.ReasonCertificatePending, "waits for cert-manager")}})
	consistent(t, list)
	got := one(t, list, v1alpha1.ConditionIdentitiesReady)
	if got.Status != metav1.ConditionFalse || got.Reason != v1alpha1.ReasonCertificatePending || got.Message != "waits for cert-manager; not served" {
		t.Errorf("got %+v", got)
	}
	// The other way round the problem stands: compile knows better than a default that all is well.
	list = ours.Conditions(ours.Facts{Generation: 3, Problems: compile.Problems{oidc}, Now: start,
		Named: []ours.Named{ours.True(v1alpha1.ConditionIdentitiesReady, v1alpha1.ReasonSucceeded, "issued")}})
	consistent(t, list)
	if got := one(t, list, v1alpha1.ConditionIdentitiesReady); got.Reason != v1alpha1.ReasonDisabled {
		t.Errorf("got %+v", got)
	}
}

func TestSameFactsSameBytes(t *testing.T) {
	facts := func(reversed bool) ours.Facts {
		ps := compile.Problems{invalid, waits, partial, {Condition: v1alpha1.ConditionAccepted, Reason: v1alpha1.ReasonInvalidKey, Field: "spec.z", Message: "m"}}
		if reversed {
			slices.Reverse(ps)
		}
		return ours.Facts{Generation: 3, Problems: ps, Named: []ours.Named{applied, pending}, Now: start}
	}
	first := ours.Conditions(facts(false))
	raw, err := json.Marshal(first)
	if err != nil {
		t.Fatal(err)
	}
	for _, reversed := range []bool{false, true} {
		again := facts(reversed)
		again.Previous, again.Now = first, start.Add(time.Hour)
		got, err := json.Marshal(ours.Conditions(again))
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(string(raw), string(got)); diff != "" {
			t.Errorf("reversed %v:\n%s", reversed, diff)
		}
	}
	if m := one(t, first, v1alpha1.ConditionAccepted); m.Message != "spec.a: is wrong; spec.z: m" || m.Reason != v1alpha1.ReasonInvalidSpec {
		t.Errorf("problems of one condition: got %+v", m)
	}
}

func TestTransitionTimes(t *testing.T) {
	at := func(list []metav1.Condition, conditionType string) time.Time {
		return one(t, list, conditionType).LastTransitionTime.Time
	}
	was := ours.Conditions(ours.Facts{Generation: 3, Named: []ours.Named{applied, pending}, Now: start})
	later := start.Add(time.Hour + 300*time.Millisecond)
	now := ours.Conditions(ours.Facts{Generation: 4, Previous: was, Named: []ours.Named{
		ours.True(v1alpha1.ConditionApplied, v1alpha1.ReasonSucceeded, "another message"), ours.True(v1alpha1.ConditionAvailable, v1alpha1.ReasonSucceeded, ""),
	}, Now: later})
	for conditionType, want := range map[string]time.Time{
		v1alpha1.ConditionApplied: start, v1alpha1.ConditionAccepted: start, v1alpha1.ConditionStalled: start,
		v1alpha1.ConditionAvailable: later.Truncate(time.Second), v1alpha1.ConditionReady: later.Truncate(time.Second), v1alpha1.ConditionReconciling: later.Truncate(time.Second),
	} {
		if got := at(now, conditionType); !got.Equal(want) {
			t.Errorf("%s: transition at %s, want %s", conditionType, got, want)
		}
	}
}

func TestMessagesAreBounded(t *testing.T) {
	for name, text := range map[string]string{"ASCII": strings.Repeat("x", 40000), "Chinese": strings.Repeat("社区", 10000), "just too long": strings.Repeat("字", 342)} {
		list := ours.Conditions(ours.Facts{Generation: 3, Problems: compile.Problems{{Condition: v1alpha1.ConditionAccepted, Reason: v1alpha1.ReasonInvalidSpec, Message: text}}, Now: start})
		for _, c := range list {
			if len(c.Message) > 1024 || !utf8.ValidString(c.Message) || (c.Message != "" && !strings.HasSuffix(c.Message, " ...")) {
				t.Errorf("%s: %s has %d bytes, ends in %q", name, c.Type, len(c.Message), c.Message[max(0, len(c.Message)-12):])
			}
		}
	}
	short := strings.Repeat("y", 1024)
	list := ours.Conditions(ours.Facts{Generation: 3, Named: []ours.Named{ours.Waiting("X", "R", short)}, Now: start})
	if one(t, list, "X").Message != short {
		t.Error("a message that fits was cut")
	}
}

func TestIsTrue(t *testing.T) {
	list := []metav1.Condition{{Type: "A", Status: metav1.ConditionTrue, ObservedGeneration: 2}, {Type: "B", Status: metav1.ConditionFalse, ObservedGeneration: 9}}
	for _, c := range []struct {
		conditionType string
		generation    int64
		want          bool
	}{{"A", 2, true}, {"A", 1, true}, {"A", 3, false}, {"B", 1, false}, {"C", 1, false}} {
		if got := ours.IsTrue(list, c.conditionType, c.generation); got != c.want {
			t.Error(fmt.Sprint(c.conditionType, " of generation ", c.generation, ": got ", got))
		}
	}
}
