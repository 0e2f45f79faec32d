package kit_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/dizuo/dizuo/api/v1alpha1"
	"github.com/dizuo/dizuo/controllers/kit"
	"github.com/dizuo/dizuo/internal/apply"
	"github.com/dizuo/dizuo/internal/bundle"
	"github.com/dizuo/dizuo/internal/compile"
	"github.com/dizuo/dizuo/internal/contract"
	"github.com/dizuo/dizuo/internal/shelf"
)

var (
	start    = time.Date(2026, 6, 1, 8, 0, 0, 0, time.UTC)
	platform = &v1alpha1.GridPlatform{ObjectMeta: metav1.ObjectMeta{Namespace: "henan", Name: "henan"}}
	key      = shelf.Key{Kind: "Community", Namespace: "henan", Name: "jinghu"}
)

func adds(p *bundle.Parts) { p.Communities["jinghu"] = contract.Community{} }

func problem(reason string, waiting, partial bool) compile.Problems {
	return compile.Problems{{Condition: v1alpha1.ConditionAccepted, Reason: reason, Message: "m", Waiting: waiting, Partial: partial}}
}

// What stays in force when an object has problems: the last good state, unless it has no place on the platform at all.
func TestContribute(t *testing.T) {
	for name, c := range map[string]struct {
		platform *v1alpha1.GridPlatform
		problems compile.Problems
		lastGood bool
		inForce  bool
	}{
		"fine":                          {platform, nil, true, true},
		"a part is wrong":               {platform, problem(v1alpha1.ReasonInvalidRows, false, true), true, true},
		"invalid":                       {platform, problem(v1alpha1.ReasonInvalidSpec, false, false), true, true},
		"a reference is gone":           {platform, problem(v1alpha1.ReasonSecretNotFound, true, false), true, true},
		"invalid, not to be kept":       {platform, problem(v1alpha1.ReasonInvalidSpec, false, false), false, false},
		"the namespace is not admitted": {platform, problem(v1alpha1.ReasonNamespaceNotAdmitted, true, false), true, false},
		"the role does not allow it":    {platform, problem(v1alpha1.ReasonNamespaceRoleNotAllowed, true, false), true, false},
		"another holds the name":        {platform, problem(v1alpha1.ReasonNameClaimed, true, false), true, false},
		"another holds the division":    {platform, problem(v1alpha1.ReasonDivisionClaimed, true, false), true, false},
		"outside the platform":          {platform, problem(v1alpha1.ReasonDivisionOutsidePlatform, false, false), true, false},
		"the platform is deleted":       {platform, problem(v1alpha1.ReasonPlatformDeleting, true, false), true, false},
		"binding beside another":        {platform, append(problem(v1alpha1.ReasonInvalidSpec, false, false), problem(v1alpha1.ReasonNameClaimed, true, false)...), true, false},
		"no platform":                   {nil, problem(v1alpha1.ReasonPlatformNotFound, true, false), true, false},
	} {
		k := &kit.Kit{Shelf: shelf.New()}
		k.Contribute(&compile.Snapshot{Platform: platform, Now: start}, key, nil, true, "good", adds)
		k.Contribute(&compile.Snapshot{Platform: c.platform, Now: start}, key, c.problems, c.lastGood, "good", adds)
		parts, _ := k.Shelf.Parts(kit.PlatformKey(platform))
		if _, got := parts.Communities["jinghu"]; got != c.inForce {
			t.Errorf("%s: in force %v, want %v", name, got, c.inForce)
		}
		if has := k.Shelf.Has(kit.PlatformKey(platform), key); has != (c.platform != nil) {
			t.Errorf("%s: recorded %v", name, has)
		}
	}
}

func TestEnforced(t *testing.T) {
	k := &kit.Kit{Shelf: shelf.New()}
	s := &compile.Snapshot{Platform: platform, Now: start}
	o := &v1alpha1.Community{ObjectMeta: metav1.ObjectMeta{Namespace: "henan", Name: "jinghu", Generation: 2}}
	look := func(what string, available, fully metav1.ConditionStatus, words string) *v1alpha1.EnforcementStatus {
		t.Helper()
		e, a, f := k.Enforced(s, key, o)
		if a.Type != v1alpha1.ConditionAvailable || f.Type != v1alpha1.ConditionFullyEnforced || a.Status != available || f.Status != fully || !strings.Contains(a.Message+f.Message, words) {
			t.Errorf("%s: %+v and %+v", what, a, f)
		}
		return e
	}
	if e := look("nothing published", metav1.ConditionFalse, metav1.ConditionFalse, "first bundle"); e != nil {
		t.Errorf("nothing published: %+v", e)
	}
	k.Contribute(s, key, nil, true, "d", adds)
	k.Shelf.Published(kit.PlatformKey(platform), 0, "r1", 1, false, start) // a bundle without it
	look("not in a bundle yet", metav1.ConditionFalse, metav1.ConditionFalse, "waits for the next bundle")
	_, version := k.Shelf.Parts(kit.PlatformKey(platform))
	k.Shelf.Published(kit.PlatformKey(platform), version, "r2", 2, false, start)
	look("nobody reports", metav1.ConditionFalse, metav1.ConditionFalse, "waits for enforcers to report")
	ack := func(auth, edge int64) {
		k.Shelf.Acknowledge(kit.PlatformKey(platform), []shelf.Enforcer{{Name: "auth.0", Sequence: auth, Online: true}, {Name: "edge.a", Sequence: edge}}, start.Add(1500*time.Millisecond))
	}
	ack(1, 1)
	if e := look("not acknowledged", metav1.ConditionFalse, metav1.ConditionFalse, "waits for auth.0, edge.a to acknowledge"); e.TookMilliseconds != nil {
		t.Errorf("it took %d ms and is not in force", *e.TookMilliseconds)
	}
	refuses := func(problem string) {
		k.Shelf.Acknowledge(kit.PlatformKey(platform), []shelf.Enforcer{{Name: "auth.0", Sequence: 1, Online: true, Problem: problem}, {Name: "edge.a", Sequence: 2}}, start)
	}
	woken := 0
	k.Shelf.Wake = func(shelf.Key) { woken++ }
	refuses("signed by a key that is not trusted")
	refuses("signed by a key that is not trusted")
	look("refused", metav1.ConditionFalse, metav1.ConditionFalse, "auth.0 refuses the newest bundle and goes on by its last good one: signed by a key that is not trusted")
	if refuses(""); woken != 2 {
		t.Errorf("the object that waits was called %d times, want once as it was refused and once as it was no more", woken)
	}
	ack(2, 1)
	e := look("an edge is away", metav1.ConditionTrue, metav1.ConditionFalse, "waits for edge.a to acknowledge")
	if e == nil || e.Acked != 1 || e.Total != 2 || e.Revision != "r2" || e.Sequence != 2 || e.EffectiveAt == nil || !e.EffectiveAt.Equal(ptrTime(start.Add(time.Second))) || !slices.Equal(e.Pending, []string{"edge.a"}) {
		t.Errorf("an edge is away: %+v", e)
	}
	if e == nil || e.TookMilliseconds == nil || *e.TookMilliseconds != 1500 {
		t.Errorf("it took other than 1500 ms: %+v", e)
	}
	ack(2, 2)
	look("everybody", metav1.ConditionTrue, metav1.ConditionTrue, "2 of 2")

	// After a restart what was said of the same generation stands until more is known; of another it does not.
	o.Status.Enforcement, o.Status.ObservedGeneration = e, 2
	o.Status.Conditions = []metav1.Condition{{Type: v1alpha1.ConditionAvailable, Status: metav1.ConditionTrue, Reason: "R"}, {Type: v1alpha1.ConditionFullyEnforced, Status: metav1.ConditionFalse, Reason: "R"}}
	k.Shelf = shelf.New()
	if got := look("restarted", metav1.ConditionTrue, metav1.ConditionFalse, ""); got != e {
		t.Errorf("restarted: %+v", got)
	}
	o.Generation = 3
	look("restarted, changed", metav1.ConditionFalse, metav1.ConditionFalse, "first bundle")
	s.Platform = nil
	if _, a, _ := k.Enforced(s, key, o); a.Status != metav1.ConditionFalse || a.Reason != v1alpha1.ReasonPlatformNotFound {
		t.Errorf("no platform: %+v", a)
	}
}

func ptrTime(t time.Time) *metav1.Time { out := metav1.NewTime(t); return &out }

// A long list of pending enforcers stays within what the API allows.
func TestPendingIsBounded(t *testing.T) {
	k := &kit.Kit{Shelf: shelf.New()}
	s := &compile.Snapshot{Platform: platform, Now: start}
	k.Contribute(s, key, nil, true, "d", adds)
	_, version := k.Shelf.Parts(kit.PlatformKey(platform))
	k.Shelf.Published(kit.PlatformKey(platform), version, "r", 1, false, start)
	var many []shelf.Enforcer
	for i := range 100 {
		many = append(many, shelf.Enforcer{Name: "edge." + strings.Repeat("x", i+1), Online: true})
	}
	k.Shelf.Acknowledge(kit.PlatformKey(platform), many, start)
	if e, _, _ := k.Enforced(s, key, &v1alpha1.Community{}); len(e.Pending) != 16 || e.Total != 100 {
		t.Errorf("%d pending of %d", len(e.Pending), e.Total)
	}
}

func TestApplied(t *testing.T) {
	for name, c := range map[string]struct {
		report  apply.Report
		reason  string
		stalled bool
	}{
		"fine":     {apply.Report{}, v1alpha1.ReasonSucceeded, false},
		"failed":   {apply.Report{Err: apply.ErrConflict}, v1alpha1.ReasonApplyFailed, false},
		"conflict": {apply.Report{Err: apply.ErrConflict, Conflicts: []string{"ConfigMap a/b is held"}}, v1alpha1.ReasonConflict, true},
	} {
		if got := kit.Applied(c.report); got.Reason != c.reason || got.Stalled != c.stalled || (got.Status == metav1.ConditionTrue) != (name == "fine") {
			t.Errorf("%s: %+v", name, got)
		}
	}
}

func TestDigest(t *testing.T) {
	one := kit.Digest(map[string]int{"a": 1, "b": 2}, "x")
	if one != kit.Digest(map[string]int{"b": 2, "a": 1}, "x") {
		t.Error("the order of a map changed it")
	}
	if one == kit.Digest(map[string]int{"a": 1, "b": 2}) || one == kit.Digest(map[string]int{"a": 1, "b": 3}, "x") {
		t.Error("another content has the same digest")
	}
}
