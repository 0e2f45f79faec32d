package compile_test

import (
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/types"

	"github.com/dizuo/dizuo/api/v1alpha1"
	"github.com/dizuo/dizuo/internal/compile"
)

// stack compiles a platform of a profile and an engine from where it stands.
func stack(t *testing.T, profile v1alpha1.PlatformProfile, engine v1alpha1.DatabaseEngine, at compile.Standing) compile.PlatformPlan {
	t.Helper()
	p := &v1alpha1.GridPlatform{}
	p.Name, p.Namespace, p.Spec.TimeZone = "henan", "henan", "Asia/Shanghai"
	p.Spec.Profile, p.Spec.Database.Engine = profile, engine
	p.Spec.Database.External = &v1alpha1.ExternalDatabase{DSNSecretRef: v1alpha1.SecretKeyRef{Name: "db", Key: "dsn"}}
	s := &compile.Snapshot{Platform: p, Platforms: []*v1alpha1.GridPlatform{p}, Standing: at, Namespaces: map[string]compile.Namespace{"henan": {}},
		Secrets: map[types.NamespacedName]map[string][]byte{{Namespace: "henan", Name: "db"}: {"dsn": []byte("postgres://o:p@db.example/d")}}}
	plan, problems := compile.Platform(s)
	if problems.Fatal() {
		t.Fatalf("problems: %+v", problems)
	}
	return plan
}

func TestBrokersStopWhenTheFirstHoldsEverything(t *testing.T) {
	const one, three = v1alpha1.ProfileStandalone, v1alpha1.ProfileHighAvailability
	for name, tc := range map[string]struct {
		profile v1alpha1.PlatformProfile
		at      compile.Standing
		want    compile.BrokerPlan
	}{
		"nothing stands":               {one, compile.Standing{}, compile.BrokerPlan{Pods: 1, Peers: 1, Replicas: 1}},
		"one stands":                   {one, compile.Standing{Brokers: 1, Running: 1}, compile.BrokerPlan{Pods: 1, Peers: 1, Replicas: 1}},
		"three from nothing":           {three, compile.Standing{}, compile.BrokerPlan{Pods: 3, Peers: 3, Replicas: 3}},
		"three from one":               {three, compile.Standing{Brokers: 1, Running: 1, Joinable: true}, compile.BrokerPlan{Pods: 3, Peers: 3, Replicas: 3}},
		"three from one that starts":   {three, compile.Standing{Brokers: 1, Running: 1}, compile.BrokerPlan{Pods: 1, Peers: 1, Replicas: 1}},
		"three stand":                  {three, compile.Standing{Brokers: 3, Running: 3}, compile.BrokerPlan{Pods: 3, Peers: 3, Replicas: 3}},
		"one from three, not gathered": {one, compile.Standing{Brokers: 3, Running: 3}, compile.BrokerPlan{Pods: 3, Peers: 3, Replicas: 1}},
		"one from three, gathered":     {one, compile.Standing{Brokers: 3, Running: 3, Gathered: true}, compile.BrokerPlan{Pods: 1, Peers: 3, Replicas: 1}},
		"the others are stopping":      {one, compile.Standing{Brokers: 1, Running: 2}, compile.BrokerPlan{Pods: 1, Peers: 3, Replicas: 1}},
		"only volumes are left":        {one, compile.Standing{Brokers: 3}, compile.BrokerPlan{Pods: 3, Peers: 3, Replicas: 1}},
	} {
		if got := stack(t, tc.profile, v1alpha1.DatabaseExternal, tc.at).Brokers; got != tc.want {
			t.Errorf("%s: %+v, want %+v", name, got, tc.want)
		}
	}
}

func TestMoveOfTheDatabase(t *testing.T) {
	const from, to = v1alpha1.DatabaseManaged, v1alpha1.DatabaseExternal
	at := func(s compile.DatabaseStanding) compile.DatabasePlan {
		plan := stack(t, v1alpha1.ProfileStandalone, to, compile.Standing{Database: s})
		if quiet := plan.Replicas[v1alpha1.ComponentGrid] == 0 && plan.Replicas[v1alpha1.ComponentGateway] == 0; quiet != plan.Database.Moving() {
			t.Errorf("%+v: grid and gateway run %v while the phase is %q", s, plan.Replicas, plan.Database.Phase)
		}
		return plan.Database
	}
	for name, tc := range map[string]struct {
		at     compile.DatabaseStanding
		serves v1alpha1.DatabaseEngine
		phase  compile.MovePhase
		runs   int
	}{
		"new":           {compile.DatabaseStanding{}, to, compile.MoveNone, 1},
		"there":         {compile.DatabaseStanding{Engine: to, Copy: compile.CopyDone}, to, compile.MoveNone, 1},
		"writers":       {compile.DatabaseStanding{Engine: from, Writers: 1, SourceReady: true, TargetReady: true}, from, compile.MoveStopping, 1},
		"target starts": {compile.DatabaseStanding{Engine: from, SourceReady: true}, from, compile.MovePreparing, 2},
		"source starts": {compile.DatabaseStanding{Engine: from, TargetReady: true}, from, compile.MovePreparing, 2},
		"ready":         {compile.DatabaseStanding{Engine: from, SourceReady: true, TargetReady: true}, from, compile.MoveCopying, 2},
		"another's Job": {compile.DatabaseStanding{Engine: from, SourceReady: true, TargetReady: true, Copy: compile.CopyOther}, from, compile.MovePreparing, 2},
		"source blinks": {compile.DatabaseStanding{Engine: from, Writers: 1, Copy: compile.CopyRunning}, from, compile.MoveCopying, 2},
		"copying":       {compile.DatabaseStanding{Engine: from, SourceReady: true, TargetReady: true, Copy: compile.CopyRunning}, from, compile.MoveCopying, 2},
		"failed":        {compile.DatabaseStanding{Engine: from, SourceReady: true, TargetReady: true, Copy: compile.CopyFailed}, from, compile.MoveFailed, 2},
		"done":          {compile.DatabaseStanding{Engine: from, SourceReady: true, TargetReady: true, Copy: compile.CopyDone}, from, compile.MoveDone, 2},
	} {
		got := at(tc.at)
		if got.Serves.Engine != tc.serves || got.Phase != tc.phase || len(got.Runs()) != tc.runs {
			t.Errorf("%s: serves %s, phase %q, %d engines; want %s, %q, %d", name, got.Serves.Engine, got.Phase, len(got.Runs()), tc.serves, tc.phase, tc.runs)
		}
	}
}

// What is wrong with a connection string is said without quoting it: it holds a password.
func TestConnectionStrings(t *testing.T) {
	for dsn, want := range map[string]string{
		"postgres://owner:secret@db.example:6432/henan?sslmode=verify-full": "",
		"postgresql://owner:secret@db.example/henan":                        "",
		"":                                   "not a connection string",
		"host=db password=secret":            "not a connection string",
		"mysql://owner:secret@db/henan":      "not a connection string",
		"postgres://db.example/henan":        "not a connection string",
		"postgres://owner@db.example/henan":  "user or password is missing",
		"postgres://owner:secret@db.example": "name is missing",
		"postgres://owner:secret@db.example/henan?sslmode=disable":        "a parameter other",
		"postgres://owner:secret@db.example/henan?target_session_attrs=x": "a parameter other",
		"postgres://owner:secret@db.example:0/henan":                      "port",
		"postgres://owner:secret@db/host%3Dx%20sslmode%3Ddisable":         "other characters",
		"postgres://owner:s/w?secret@db:5432/henan":                       "not a connection string",
		"postgres://owner:secret@a,b/henan":                               "more than one host",
		"postgres://owner:sec%ret@db/henan":                               "not a connection string",
	} {
		p := &v1alpha1.GridPlatform{}
		p.Name, p.Namespace, p.Spec.TimeZone, p.Spec.Database.Engine = "henan", "henan", "Asia/Shanghai", v1alpha1.DatabaseExternal
		p.Spec.Database.External = &v1alpha1.ExternalDatabase{DSNSecretRef: v1alpha1.SecretKeyRef{Name: "db", Key: "dsn"}}
		_, problems := compile.Platform(&compile.Snapshot{Platform: p, Platforms: []*v1alpha1.GridPlatform{p}, Namespaces: map[string]compile.Namespace{"henan": {}},
			Secrets: map[types.NamespacedName]map[string][]byte{{Namespace: "henan", Name: "db"}: {"dsn": []byte(dsn)}}})
		text := ""
		for _, p := range problems {
			text += p.Text() + "\n"
		}
		if strings.Contains(text, "secret@") || strings.Contains(text, "sec%ret") || strings.Contains(text, "=secret") {
			t.Errorf("%q: the message quotes the password: %s", dsn, text)
		}
		if (want == "") != (text == "") || !strings.Contains(text, want) {
			t.Errorf("%q: %q, want it to say %q", dsn, text, want)
		}
	}
}

// Where the status is lost, what the services use says where the data is.
func TestEngineAt(t *testing.T) {
	for host, want := range map[string]v1alpha1.DatabaseEngine{
		"": "", "dizuo-postgres.henan.svc": v1alpha1.DatabaseManaged, "dizuo-db-rw.henan.svc": v1alpha1.DatabaseCloudNativePG,
		"dizuo-db-rw.other.svc": v1alpha1.DatabaseExternal, "db.example": v1alpha1.DatabaseExternal,
	} {
		if got := compile.EngineAt(host, "henan"); got != want {
			t.Errorf("%q: %q, want %q", host, got, want)
		}
	}
}

// What the platform says of a bad rating reaches the grid service; without it the service has its own.
func TestBadScore(t *testing.T) {
	for _, want := range []int{0, 1, 4} {
		p := &v1alpha1.GridPlatform{}
		p.Name, p.Namespace, p.Spec.TimeZone = "henan", "henan", "Asia/Shanghai"
		if bad := int32(want); bad > 0 {
			p.Spec.Ratings.BadScore = &bad
		}
		plan, _ := compile.Platform(&compile.Snapshot{Platform: p, Platforms: []*v1alpha1.GridPlatform{p}, Namespaces: map[string]compile.Namespace{"henan": {}}})
		if got := plan.Document.BadScore; got != want {
			t.Errorf("bad score %d, want %d", got, want)
		}
	}
}
