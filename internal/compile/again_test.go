package compile_test

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/types"

	"github.com/dizuo/dizuo/api/v1alpha1"
	"github.com/dizuo/dizuo/internal/compile"
)

// hash is a valid hash of a password that nobody has.
var hash = "sha256:" + strings.Repeat("A", 22) + ":" + strings.Repeat("A", 43)

// edited is a platform that is edited at random, with what an operator remembers of it.
type edited struct {
	*rand.Rand
	now         time.Time
	emqx        bool
	communities map[string]*v1alpha1.Community
	profile     *v1alpha1.DeviceProfile
	maintainer  bool
	fleets      map[string]*v1alpha1.DeviceFleet
	secrets     map[string][]string // lines by name; none where there is no Secret
	artifacts   map[string][]string

	parsed map[string]*compile.Source // of secrets and artifacts
	claims *compile.DeviceClaims
	plans  map[string]compile.FleetPlan
}

const header = "device,community,grid,microGrid,compound,maintainer,serial,clientID,passwordHash,previousPasswordHash,previousUntil,via,building\n"

func newEdited(r *rand.Rand) *edited {
	w := &edited{Rand: r, now: time.Date(2026, 6, 1, 8, 0, 0, 0, time.UTC), communities: map[string]*v1alpha1.Community{}, maintainer: true,
		fleets: map[string]*v1alpha1.DeviceFleet{}, secrets: map[string][]string{}, artifacts: map[string][]string{},
		parsed: map[string]*compile.Source{}, claims: compile.NewDeviceClaims(), plans: map[string]compile.FleetPlan{}}
	w.profile = &v1alpha1.DeviceProfile{}
	w.profile.Name, w.profile.Namespace, w.profile.Spec.SchemaVersion = "smoke", "p", 1
	for _, name := range []string{"own", "gate", "rival"} {
		o := &v1alpha1.DeviceFleet{}
		o.Name, o.Namespace = name, "v"
		if name == "rival" {
			o.Namespace = "w"
		}
		o.Spec.ProfileRef.Name = "smoke"
		o.Spec.AccessMode = v1alpha1.AccessDevice
		if name == "gate" {
			o.Spec.AccessMode = v1alpha1.AccessGateway
		}
		o.Spec.Identity.Type = v1alpha1.FleetIdentityPassword
		o.Spec.Inventory = &v1alpha1.FleetInventory{Secrets: []v1alpha1.SecretRef{{Name: name + "-1"}, {Name: name + "-2"}}}
		w.fleets[name] = o
	}
	for _, name := range []string{"a", "b"} {
		w.communities[name] = w.community(name)
	}
	for range 25 {
		w.edit()
	}
	return w
}

// one of some texts, of which "" is none.
func (w *edited) one(of ...string) string { return of[w.IntN(len(of))] }

// mostly gives a text, and now and then none; seldom gives one of some now and then.
func (w *edited) mostly(text string) string {
	if w.IntN(12) == 0 {
		return ""
	}
	return text
}

func (w *edited) seldom(of ...string) string {
	if w.IntN(6) == 0 {
		return w.one(of...)
	}
	return ""
}

// line is a row of a fleet, good or not.
func (w *edited) line(fleet string) string {
	was, until := "", w.seldom(w.now.Add(time.Duration(w.IntN(5)-2)*time.Hour).Format(time.RFC3339))
	if until != "" {
		was = w.mostly(hash)
	}
	community, grid := w.one("", "a", "a", "b"), ""
	if community != "" {
		grid = w.seldom("g1", "g2")
	}
	proof, via := w.mostly(hash), w.seldom("own.d1")
	if fleet == "gate" { // it begins with devices behind those of another
		proof, via = w.seldom(hash), w.one("own.d1", "own.d1", "own.d2", "rival.d1")
	}
	return strings.Join([]string{"d" + fmt.Sprint(w.IntN(12)), community, grid, w.seldom(grid, "m1"), w.seldom("east"), w.seldom("fire"),
		w.one("", "", "S1", "S2", "S3"), w.seldom("C:1", "own_d1"), proof, was, until, via, w.one("", "1", "2")}, ",") + "\n"
}

// lines changes a list of them.
func (w *edited) lines(fleet string, was []string) []string {
	is := slices.Clone(was)
	if i := w.IntN(len(is) + 1); i == len(is) || w.IntN(3) == 0 {
		return slices.Insert(is, i, w.one(w.line(fleet), w.line(fleet), w.line(fleet), w.line(fleet), w.line(fleet), "not,csv\"\n"))
	} else if w.IntN(2) == 0 {
		is[i] = w.line(fleet)
		return is
	} else {
		return slices.Delete(is, i, i+1)
	}
}

func (w *edited) community(name string) *v1alpha1.Community {
	c := &v1alpha1.Community{}
	c.Name, c.Namespace = name, "p"
	if w.IntN(2) == 0 {
		c.Spec.Compounds = []v1alpha1.Compound{{Name: "east"}}
	}
	if grid := w.one("", "g1", "g2"); grid != "" {
		c.Spec.Grids = []v1alpha1.Grid{{Name: grid, MicroGrids: []v1alpha1.MicroGrid{{Name: w.one("m1", "m2")}}}}
	}
	return c
}

// edit changes one thing.
func (w *edited) edit() {
	name := w.one("own", "gate", "rival")
	secret := name + w.one("-1", "-2")
	o := w.fleets[name].DeepCopy()
	switch w.IntN(22) {
	default:
		w.secrets[secret] = w.lines(name, w.secrets[secret])
		delete(w.parsed, secret)
	case 0: // a row moves from one Secret to the other
		other := name + "-1"
		if from := w.secrets[other]; secret != other && len(from) > 0 {
			w.secrets[secret], w.secrets[other] = append(slices.Clone(w.secrets[secret]), from[0]), from[1:]
			delete(w.parsed, secret)
			delete(w.parsed, other)
		}
	case 1:
		delete(w.secrets, secret)
		delete(w.parsed, secret)
	case 2:
		community := w.one("a", "b", "c")
		if w.communities[community] != nil && w.IntN(4) == 0 {
			delete(w.communities, community)
			return
		}
		w.communities[community] = w.community(community)
	case 3:
		if w.IntN(3) == 0 {
			w.maintainer = !w.maintainer
		}
	case 5:
		p := w.profile.DeepCopy()
		p.Spec.SchemaVersion++
		w.profile = p
	case 6:
		o.Spec.AccessMode = []v1alpha1.AccessMode{v1alpha1.AccessDevice, v1alpha1.AccessDevice, v1alpha1.AccessGateway, v1alpha1.AccessPlatform}[w.IntN(4)]
	case 7:
		o.Spec.Identity.Type = []v1alpha1.FleetIdentityType{v1alpha1.FleetIdentityPassword, v1alpha1.FleetIdentityX509}[w.IntN(4)/3]
	case 8:
		o.Spec.Suspended = !o.Spec.Suspended
	case 9:
		o.Spec.Inventory.Open = []*v1alpha1.OpenEnrolment{nil, {Max: 5}}[w.IntN(2)]
	case 10:
		o.Spec.Mapping = []*v1alpha1.PayloadMapping{nil, {Device: "payload.id"}}[w.IntN(2)]
	case 11:
		w.emqx = !w.emqx
	case 12:
		w.now = w.now.Add(time.Hour)
	case 13:
		o.Spec.Inventory.Rows = nil
		if w.IntN(2) == 0 {
			o.Spec.Inventory.Rows = []v1alpha1.InventoryRow{{Device: "d1", Community: w.one("", "a"), Serial: w.one("", "S1"), PasswordHash: w.mostly(hash)}}
		}
	case 14:
		o.Spec.Inventory.Artifact = nil
		if w.IntN(2) == 0 {
			o.Spec.Inventory.Artifact = &v1alpha1.InventoryArtifact{URL: "https://vendor.example/a.csv"}
			w.artifacts[name] = w.lines(name, w.artifacts[name])
			delete(w.parsed, "artifact "+name)
		}
	case 15:
		slices.Reverse(o.Spec.Inventory.Secrets)
	}
	w.fleets[name] = o
}

func of(name string) types.NamespacedName {
	if name == "rival" {
		return types.NamespacedName{Namespace: "w", Name: name}
	}
	return types.NamespacedName{Namespace: "v", Name: name}
}

// snapshot gives the platform as it is; remembered says whether sources are those that were parsed before.
func (w *edited) snapshot(remembered bool) *compile.Snapshot {
	p := &v1alpha1.GridPlatform{}
	p.Name, p.Namespace = "p", "p"
	if w.emqx {
		p.Spec.Broker.Engine = v1alpha1.BrokerEMQX
	}
	s := &compile.Snapshot{Now: w.now, Platform: p, Platforms: []*v1alpha1.GridPlatform{p}, Namespaces: map[string]compile.Namespace{"p": {}, "v": {}, "w": {}},
		Communities: compile.Named[*v1alpha1.Community]{}, Fleets: compile.Named[*v1alpha1.DeviceFleet]{}, Organizations: compile.Named[*v1alpha1.Organization]{},
		Profiles: compile.Named[*v1alpha1.DeviceProfile]{"smoke": {w.profile}}, Secrets: map[types.NamespacedName]map[string][]byte{},
		Inventories: map[types.NamespacedName]*compile.Source{}, Artifacts: map[types.NamespacedName]compile.Artifact{}, Claimed: w.claims.Lost}
	for _, c := range w.communities {
		s.Communities.Add(c)
	}
	if w.maintainer {
		o := &v1alpha1.Organization{}
		o.Name, o.Namespace = "fire", "p"
		s.Organizations.Add(o)
	}
	for name, o := range w.fleets {
		s.Fleets.Add(o)
		for i := range 2 {
			secret := types.NamespacedName{Namespace: o.Namespace, Name: fmt.Sprint(name, "-", i+1)}
			lines, there := w.secrets[secret.Name]
			if !there {
				continue
			}
			s.Secrets[secret] = map[string][]byte{"rows.csv": []byte(header + strings.Join(lines, ""))}
			if remembered {
				if w.parsed[secret.Name] == nil {
					w.parsed[secret.Name] = compile.SourceOfSecret(secret.Name, s.Secrets[secret])
				}
				s.Inventories[secret] = w.parsed[secret.Name]
			}
		}
		if lines, there := w.artifacts[name]; there {
			a := compile.Artifact{Data: []byte(header + strings.Join(lines, ""))}
			if remembered {
				if w.parsed["artifact "+name] == nil {
					w.parsed["artifact "+name] = compile.SourceOfArtifact(a.Data)
				}
				a.Source = w.parsed["artifact "+name]
			}
			s.Artifacts[of(name)] = a
		}
	}
	return s
}

// again compiles a fleet with what is remembered, as its controller does, and gives who else is to be compiled.
func (w *edited) again(name string) (called []string) {
	for {
		s := w.snapshot(true)
		s.Turns = w.claims.Turns(of(name))
		plan, problems := compile.FleetAgain(s, w.fleets[name], w.plans[name])
		if problems.Fatal() {
			delete(w.plans, name) // the index does not know its claims
			w.claims.Looked(of(name))
			return called
		}
		w.plans[name] = plan
		again, others := w.claims.Set(of(name), plan.Claims(), s.Turns)
		for _, o := range others {
			called = append(called, o.Name)
		}
		if !again {
			return called
		}
	}
}

// However a platform is edited, what is remembered gives the plans and the problems that looking at everything gives.
func TestFleetAgainIsFleet(t *testing.T) {
	scripts := 2_000
	if testing.Short() {
		scripts = 200
	}
	kept, refused := 0, 0
	for script := range scripts {
		w := newEdited(rand.New(rand.NewPCG(uint64(script), 1)))
		w.claims.Know([]*v1alpha1.DeviceFleet{w.fleets["own"], w.fleets["gate"], w.fleets["rival"]})
		for step := range 6 {
			for range w.IntN(3) {
				w.edit()
			}
			for calls := []string{"own", "gate", "rival"}; len(calls) > 0; {
				calls = append(calls[1:], w.again(calls[0])...)
			}
			for name, o := range w.fleets {
				s := w.snapshot(true)
				s.Turns = w.claims.Turns(of(name))
				got, problems := compile.FleetAgain(s, o, w.plans[name])
				want, wanted := compile.Fleet(w.snapshot(false), o)
				if !reflect.DeepEqual(problems, wanted) || got.RowsDigest() != want.RowsDigest() || !slices.Equal(got.Claims(), want.Claims()) ||
					saysOf(t, got) != saysOf(t, want) {
					t.Fatalf("script %d, step %d, fleet %s:\n%s\n%s", script, step, name, cmp.Diff(wanted, problems), cmp.Diff(saysOf(t, want), saysOf(t, got)))
				}
				kept, refused = kept+len(got.Rows), refused+got.Refused
			}
		}
	}
	if kept < 5*scripts || refused < 5*scripts {
		t.Errorf("only %d rows were taken and %d refused: the scripts try too little", kept, refused)
	}
}

// saysOf gives what a plan says.
func saysOf(t *testing.T, p compile.FleetPlan) string {
	t.Helper()
	raw, err := json.MarshalIndent(p.Decoded(), "", " ")
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
}

// What changes nothing of the rows takes them as they are: the same slice, and not one like it.
func TestWhatChangesNoRowCompilesNone(t *testing.T) {
	w := newEdited(rand.New(rand.NewPCG(1, 1)))
	o := &v1alpha1.DeviceFleet{}
	o.Name, o.Namespace, o.Spec.ProfileRef.Name, o.Spec.Identity.Type = "own", "v", "smoke", v1alpha1.FleetIdentityPassword
	o.Spec.Inventory = &v1alpha1.FleetInventory{Rows: []v1alpha1.InventoryRow{{Device: "i", PasswordHash: hash}}, Secrets: []v1alpha1.SecretRef{{Name: "own-1"}}}
	w.secrets["own-1"], w.fleets["own"], w.parsed = []string{"d1,a,,,,,S1,," + hash + ",,,,\n"}, o, map[string]*compile.Source{}
	w.communities["a"] = w.community("a")
	plan, problems := compile.FleetAgain(w.snapshot(true), o, compile.FleetPlan{})
	if len(plan.Rows) != 2 {
		t.Fatalf("%d rows: %v", len(plan.Rows), problems)
	}
	limits := o.DeepCopy()
	limits.Spec.Limits.MessagesPerMinute++
	w.now = w.now.Add(time.Hour)
	w.communities["a"] = w.community("a") // whatever it has, the rows name nothing of it
	for what, fleet := range map[string]*v1alpha1.DeviceFleet{"the time": o.DeepCopy(), "a limit": limits} {
		if again, _ := compile.FleetAgain(w.snapshot(true), fleet, plan); &again.Rows[0] != &plan.Rows[0] {
			t.Errorf("%s made the rows anew", what)
		}
	}
}
