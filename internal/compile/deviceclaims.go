package compile

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"slices"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/dizuo/dizuo/api/v1alpha1"
)

// Kinds of claims of devices: what no two devices of a platform may share, in whatever fleet they are.
const (
	ClaimClientID = "ClientID"
	ClaimSerial   = "Serial"
	ClaimIMEI     = "IMEI"
)

// deviceClaimKinds are in the order of the fields that make them; see DeviceClaim.field.
var deviceClaimKinds = []string{ClaimClientID, ClaimSerial, ClaimIMEI}

// DeviceClaim stands for one serial number, IMEI or bound client id: the kind's number, then the first 15 bytes of SHA-256 of kind and
// value. An index of two million of them fits an operator.
type DeviceClaim [16]byte

// NewDeviceClaim gives the claim of a value of one of the kinds.
func NewDeviceClaim(kind, value string) DeviceClaim {
	sum := sha256.Sum256([]byte(kind + "\x00" + value))
	var c DeviceClaim
	c[0] = byte(slices.Index(deviceClaimKinds, kind))
	copy(c[1:], sum[:])
	return c
}

// Record gives the claim as a status records it.
func (c DeviceClaim) Record() v1alpha1.Claim {
	return v1alpha1.Claim{Kind: deviceClaimKinds[c[0]], Value: hex.EncodeToString(c[1:])}
}

// recordedClaim reads what Record wrote; ok is false for a claim of another kind.
func recordedClaim(r v1alpha1.Claim) (c DeviceClaim, ok bool) {
	kind := slices.Index(deviceClaimKinds, r.Kind)
	sum, err := hex.DecodeString(r.Value)
	if kind < 0 || err != nil || len(sum) != len(c)-1 {
		return c, false
	}
	c[0] = byte(kind)
	copy(c[1:], sum)
	return c, true
}

// field gives the field of the row that makes the claim.
func (c DeviceClaim) field() string { return [...]string{"clientID", "serial", "imei"}[c[0]] }

// claimsOf gives what a row claims. A client id that no row binds is the device's by its name and needs no claim.
func claimsOf(r v1alpha1.InventoryRow) []DeviceClaim {
	var out []DeviceClaim
	for kind, value := range []string{r.ClientID, r.Serial, r.IMEI} {
		if value != "" {
			out = append(out, NewDeviceClaim(deviceClaimKinds[kind], value))
		}
	}
	return out
}

// Claims gives what the rows of a fleet claim: those that are in force, and those that another fleet keeps out.
func (p FleetPlan) Claims() []DeviceClaim {
	if p.rows == nil {
		return nil
	}
	return p.rows.claims
}

// Rival is a fleet that contends for a claim.
type Rival struct {
	Fleet types.NamespacedName
	// Since is when the fleet won its own name; zero for one that has not yet.
	Since time.Time
	// Recorded is set when the fleet's status records that it won this claim.
	Recorded bool
}

// Holder gives the fleet that holds a claim where no order of arrival is known, as after a restart: the one that recorded it, else the
// one whose name is older, else by namespace and name. The order of the rivals does not matter.
func Holder(rivals []Rival) types.NamespacedName {
	first := slices.MinFunc(rivals, func(a, b Rival) int {
		return cmp.Or(
			-cmp.Compare(oneIf(a.Recorded), oneIf(b.Recorded)), cmp.Compare(oneIf(a.Since.IsZero()), oneIf(b.Since.IsZero())), a.Since.Compare(b.Since),
			cmp.Compare(a.Fleet.Namespace, b.Fleet.Namespace), cmp.Compare(a.Fleet.Name, b.Fleet.Name))
	})
	return first.Fleet
}

func oneIf(b bool) int {
	if b {
		return 1
	}
	return 0
}

// DeviceClaims is the index of one platform: who holds what. The first fleet to claim a thing holds it until it lets go. It is fed
// with the claims of each plan and costs what changed. Safe for concurrent use.
type DeviceClaims struct {
	mu     sync.Mutex
	fleets map[types.NamespacedName]*claimant
	// held has the holder of every claim, contests the rivals where there is more than one, the holder among them.
	held     map[DeviceClaim]*claimant
	contests map[DeviceClaim][]*claimant
	// settled is set once every fleet has been looked at: before, arrival says nothing about who was first.
	settled bool
}

type claimant struct {
	fleet  types.NamespacedName
	since  time.Time
	claims []DeviceClaim // sorted
	// recorded are the claims that the status named when the fleet was first seen.
	recorded map[DeviceClaim]bool
	looked   bool
	// turns counts how often a verdict on one of its claims changed.
	turns uint64
}

// NewDeviceClaims gives an empty index.
func NewDeviceClaims() *DeviceClaims {
	return &DeviceClaims{fleets: map[types.NamespacedName]*claimant{}, held: map[DeviceClaim]*claimant{}, contests: map[DeviceClaim][]*claimant{}}
}

// Know tells of the fleets of the platform. What their status records as won is theirs before their rows were read, so that no rival
// that is looked at earlier takes it. A fleet that is known already is not read again.
func (d *DeviceClaims) Know(fleets []*v1alpha1.DeviceFleet) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, o := range fleets {
		at := types.NamespacedName{Namespace: o.Namespace, Name: o.Name}
		c := d.fleets[at]
		if c != nil && !c.since.IsZero() {
			continue
		}
		if c == nil {
			c = &claimant{fleet: at, recorded: map[DeviceClaim]bool{}}
			d.fleets[at] = c
			for _, r := range o.Status.Claims {
				if claim, ok := recordedClaim(r); ok {
					c.recorded[claim] = true
				}
			}
			var none calls
			d.set(c, sortedClaims(c.recorded), &none)
		}
		for _, r := range o.Status.Claims {
			if r.Kind == ClaimName && r.Value == o.Name && r.Since != nil {
				c.since = r.Since.Time
			}
		}
	}
}

func sortedClaims(set map[DeviceClaim]bool) []DeviceClaim {
	out := make([]DeviceClaim, 0, len(set))
	for c := range set {
		out = append(out, c)
	}
	slices.SortFunc(out, compareClaims)
	return out
}

func compareClaims(a, b DeviceClaim) int { return bytes.Compare(a[:], b[:]) }

// Turns counts how often a verdict on one of the fleet's claims changed. It is asked for before a fleet is compiled, and given to Set.
func (d *DeviceClaims) Turns(fleet types.NamespacedName) uint64 {
	d.mu.Lock()
	defer d.mu.Unlock()
	if c := d.fleets[fleet]; c != nil {
		return c.turns
	}
	return 0
}

// Lost tells whether another fleet holds a claim, and which. It has the form of Snapshot.Claimed.
func (d *DeviceClaims) Lost(fleet types.NamespacedName, claim DeviceClaim) (types.NamespacedName, bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	holder := d.held[claim]
	if holder == nil || holder.fleet == fleet {
		return types.NamespacedName{}, false
	}
	return holder.fleet, true
}

// Set takes what a fleet claims now, in place of what it claimed. again says that a verdict may not be the one that the plan was
// compiled with: compile it anew. called are other fleets for which something changed.
func (d *DeviceClaims) Set(fleet types.NamespacedName, claims []DeviceClaim, turns uint64) (again bool, called []types.NamespacedName) {
	d.mu.Lock()
	defer d.mu.Unlock()
	c := d.fleets[fleet]
	if c == nil {
		c = &claimant{fleet: fleet}
		d.fleets[fleet] = c
	}
	sorted := claims
	if !slices.IsSortedFunc(claims, compareClaims) {
		sorted = slices.SortedFunc(slices.Values(claims), compareClaims)
	}
	changed := calls{}
	d.set(c, slices.Compact(sorted), &changed)
	d.look(c)
	return c.turns != turns, changed.without(fleet)
}

// Looked tells that a fleet was looked at, though it has no claims of its own that are in force.
func (d *DeviceClaims) Looked(fleet types.NamespacedName) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if c := d.fleets[fleet]; c != nil {
		d.look(c)
	}
}

func (d *DeviceClaims) look(c *claimant) {
	c.looked = true
	if d.settled {
		return
	}
	for _, other := range d.fleets {
		if !other.looked {
			return
		}
	}
	d.settled = true
}

// Drop lets go of all that a fleet claims, because it is gone or has no place on the platform. called are fleets that take over.
func (d *DeviceClaims) Drop(fleet types.NamespacedName) (called []types.NamespacedName) {
	d.mu.Lock()
	defer d.mu.Unlock()
	c := d.fleets[fleet]
	if c == nil {
		return nil
	}
	changed := calls{}
	d.set(c, nil, &changed)
	delete(d.fleets, fleet)
	return changed.without(fleet)
}

// Won gives the contests that a fleet holds, to be recorded in its status, at most that many of them.
func (d *DeviceClaims) Won(fleet types.NamespacedName, most int) []v1alpha1.Claim {
	d.mu.Lock()
	defer d.mu.Unlock()
	c := d.fleets[fleet]
	if c == nil {
		return nil
	}
	won := map[DeviceClaim]bool{}
	for claim := range d.contests {
		if d.held[claim] == c {
			won[claim] = true
		}
	}
	if !d.settled { // a rival may not have been looked at yet
		for claim := range c.recorded {
			if d.held[claim] == c {
				won[claim] = true
			}
		}
	}
	sorted := sortedClaims(won)
	var out []v1alpha1.Claim
	for _, claim := range sorted[:min(len(sorted), most)] {
		out = append(out, claim.Record())
	}
	return out
}

// calls collects the fleets for which something changed.
type calls map[types.NamespacedName]bool

func (c calls) without(fleet types.NamespacedName) []types.NamespacedName {
	delete(c, fleet)
	var out []types.NamespacedName
	for name := range c {
		out = append(out, name)
	}
	slices.SortFunc(out, func(a, b types.NamespacedName) int { return cmp.Compare(a.String(), b.String()) })
	return out
}

// set walks two sorted lists, what was claimed and what is.
func (d *DeviceClaims) set(c *claimant, now []DeviceClaim, changed *calls) {
	if *changed == nil {
		*changed = calls{}
	}
	was := c.claims
	c.claims = now
	for i, j := 0, 0; i < len(was) || j < len(now); {
		switch {
		case j == len(now) || i < len(was) && compareClaims(was[i], now[j]) < 0:
			d.leave(c, was[i], *changed)
			i++
		case i == len(was) || compareClaims(was[i], now[j]) > 0:
			d.enter(c, now[j], *changed)
			j++
		default:
			i, j = i+1, j+1
		}
	}
}

// enter makes a fleet a rival for a claim.
func (d *DeviceClaims) enter(c *claimant, claim DeviceClaim, changed calls) {
	holder := d.held[claim]
	if holder == nil {
		d.held[claim] = c
		return
	}
	rivals := d.contests[claim]
	if rivals == nil {
		rivals = []*claimant{holder}
	}
	rivals = append(rivals, c)
	d.contests[claim] = rivals
	c.turns++
	changed[holder.fleet] = true // it records what it won, or has lost it
	if !d.settled {
		d.judge(claim, rivals)
		for _, r := range rivals {
			r.turns++
		}
	}
}

// leave takes a fleet from the rivals for a claim; if it held the claim, another one does now.
func (d *DeviceClaims) leave(c *claimant, claim DeviceClaim, changed calls) {
	rivals := slices.DeleteFunc(d.contests[claim], func(r *claimant) bool { return r == c })
	if len(rivals) == 0 {
		delete(d.held, claim)
		return
	}
	if d.held[claim] == c {
		d.judge(claim, rivals)
		for _, r := range rivals { // those that lose lose to another
			r.turns++
		}
	}
	changed[d.held[claim].fleet] = true
	if len(rivals) == 1 {
		delete(d.contests, claim)
		return
	}
	d.contests[claim] = rivals
	for _, r := range rivals {
		changed[r.fleet] = true // their rows name who holds it
	}
}

func (d *DeviceClaims) judge(claim DeviceClaim, rivals []*claimant) {
	list := make([]Rival, len(rivals))
	for i, r := range rivals {
		list[i] = Rival{Fleet: r.fleet, Since: r.since, Recorded: r.recorded[claim]}
	}
	d.held[claim] = d.fleets[Holder(list)]
}

// Contests gives the index of all fleets of a Snapshot that holds a whole platform, as offline: every fleet is compiled once by itself.
func Contests(s *Snapshot) *DeviceClaims {
	index, alone := NewDeviceClaims(), *s
	alone.Claimed = nil
	var fleets []*v1alpha1.DeviceFleet
	for name := range s.Fleets {
		o, _ := s.Fleets.Get(name)
		fleets = append(fleets, o)
	}
	index.Know(fleets)
	for _, o := range fleets {
		at := types.NamespacedName{Namespace: o.Namespace, Name: o.Name}
		if plan, problems := Fleet(&alone, o); !problems.Fatal() {
			index.Set(at, plan.Claims(), 0)
		}
	}
	return index
}
