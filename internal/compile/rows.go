package compile

import (
	"cmp"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"k8s.io/apimachinery/pkg/types"

	"github.com/dizuo/dizuo/api/v1alpha1"
	"github.com/dizuo/dizuo/internal/contract"
	"github.com/dizuo/dizuo/internal/contract/password"
)

// summary says how many rows were rejected, by code, and where the first one is.
func summary(plan FleetPlan) string {
	var counts []string
	for _, n := range plan.ByCode {
		counts = append(counts, fmt.Sprintf("%d %s", n.Rows, n.Code))
	}
	first := plan.Rejected[0]
	return fmt.Sprintf("%d of %d rows rejected: %s; first: %s line %d: %s",
		plan.Refused, plan.Total, strings.Join(counts, ", "), first.Source, first.Line, first.Reason)
}

// registrar gives what takes good rows into the plan, one at a time, and says what is wrong with the others.
func registrar(k *checker, plan *FleetPlan) func(row) fault {
	return func(r row) fault {
		if f := k.take(r); f.code != "" {
			return f
		}
		plan.Document.Devices[r.Device] = r.document()
		if r.Community == "" { // in store: known, and not admitted before it hangs somewhere
			if plan.Credentials.Open > 0 { // else it would be taken in as one that no row names
				plan.Credentials.Devices[r.Device] = contract.Credential{Stored: true}
			}
			return fault{}
		}
		if k.via != "" || k.fleet.Spec.AccessMode != v1alpha1.AccessPlatform { // else the payload of the cloud names it
			plan.Credentials.Devices[r.Device] = credential(k.s.Now, r, k.via)
		}
		return fault{}
	}
}

// credential gives what a device proves itself by. A hash whose overlap is over is left out.
func credential(now time.Time, r row, via string) contract.Credential {
	c := contract.Credential{ClientID: r.ClientID, PasswordHash: r.PasswordHash, Via: via}
	if until, err := time.Parse(time.RFC3339, r.PreviousUntil); err == nil && r.PreviousPasswordHash != "" && now.Before(until) {
		c.PreviousHash, c.PreviousUntil = r.PreviousPasswordHash, until.Unix()
	}
	return c
}

var (
	objectName   = regexp.MustCompile(`^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$`)
	clientID     = regexp.MustCompile(`^[A-Za-z0-9_:@-]+$`)
	householdID  = regexp.MustCompile(`^[A-Za-z0-9_-]{8,64}$`)
	imei         = regexp.MustCompile(`^[0-9]{15}$`)
	longitudeNum = regexp.MustCompile(`^-?[0-9]{1,3}(\.[0-9]{1,9})?$`)
	latitudeNum  = regexp.MustCompile(`^-?[0-9]{1,2}(\.[0-9]{1,9})?$`)
)

// Bounds of the values of a row, those of the schema for rows that are written inline.
const (
	maxBuilding       = 32
	maxSerial         = 64
	maxAttributes     = 16
	maxAttributeName  = 63
	maxAttributeValue = 128
	// maxClientID is what the NATS engine is let take; EMQX takes maxClientIDEMQX, which is what the schema allows.
	maxClientID     = 64
	maxClientIDEMQX = 128
)

// checker says what is wrong with the rows of a fleet, one after the other. Without a Snapshot with a platform it checks what a row says
// by itself, and without a fleet what holds for every fleet.
type checker struct {
	s     *Snapshot
	fleet *v1alpha1.DeviceFleet
	// devices and claimed are those of the rows that were taken, claims what they and the rows that another fleet keeps out claim.
	devices map[string]bool
	claimed map[DeviceClaim]bool
	claims  []DeviceClaim
	// speakers finds who speaks for a row; via is who does for the row that was taken last.
	speakers *speakers
	via      string
	// grids of all communities of the Snapshot, once one was looked for in vain.
	grids map[string]bool
}

func newChecker(s *Snapshot, o *v1alpha1.DeviceFleet) *checker {
	return &checker{s: s, fleet: o, devices: map[string]bool{}, claimed: map[DeviceClaim]bool{}, speakers: newSpeakers(s, o)}
}

// looksUp reports whether there is a platform to look names up on.
func (k *checker) looksUp() bool { return k.s != nil && k.s.Platform != nil }

// take says what is wrong with a row by itself or beside those that were taken before, or nothing: then it is taken.
func (k *checker) take(r row) fault {
	if f := k.row(r); f.code != "" {
		return f
	}
	if k.devices[r.Device] {
		return fault{v1alpha1.RowDuplicate, "device stands in the inventory twice; remove one of the rows"}
	}
	claims := claimsOf(r)
	for _, c := range claims {
		if k.claimed[c.claim] {
			return fault{v1alpha1.RowDuplicate, c.field + " is that of another device of the fleet; give each its own"}
		}
	}
	for _, c := range claims {
		k.claimed[c.claim] = true
		k.claims = append(k.claims, c.claim)
	}
	for _, c := range claims {
		if f := k.lost(c); f.code != "" {
			return f
		}
	}
	var f fault
	if k.via, f = k.speaker(r); f.code != "" {
		return f
	}
	k.devices[r.Device] = true
	return fault{}
}

// speaker gives the device whose connection speaks for a row.
func (k *checker) speaker(r row) (via string, f fault) {
	if k.fleet == nil || !k.looksUp() {
		return "", fault{}
	}
	return k.speakers.of(r)
}

// row says what is wrong with a row by itself, or nothing. It never repeats a value that may be a name or an address of a person.
func (k *checker) row(r row) fault {
	return cmp.Or(k.identity(r), k.form(r), k.position(r), k.place(r), k.maintainer(r), k.client(r), k.credential(r))
}

func (k *checker) identity(r row) fault {
	switch {
	case !contract.ValidDevice(r.Device):
		return malformed("device: want 1 to 64 letters, digits, _ or -")
	case r.Device == contract.PlatformDevice:
		return fault{v1alpha1.RowReserved, "device: " + contract.PlatformDevice + " stands for a cloud that speaks for a whole fleet; take another name"}
	}
	return fault{}
}

// form checks values that name nothing.
func (k *checker) form(r row) fault {
	switch {
	case !text(r.Building, maxBuilding):
		return malformed("building: want at most %d characters", maxBuilding)
	case !text(r.Unit, maxBuilding):
		return malformed("unit: want at most %d characters, the stairwell and no door number", maxBuilding)
	case r.Household != "" && !householdID.MatchString(r.Household):
		return malformed("household: want the random id of the vault, 8 to 64 letters, digits, _ or -; never an address or a name")
	case r.Via != "" && !validVia(r.Via):
		return malformed("via: want the gateway device as <fleet>.<device>")
	case !text(r.Serial, maxSerial) || strings.TrimSpace(r.Serial) != r.Serial:
		return malformed("serial: want at most %d characters, without spaces at the ends", maxSerial)
	case r.IMEI != "" && !imei.MatchString(r.IMEI):
		return malformed("imei: want 15 digits")
	case r.InstalledAt != "" && !date(r.InstalledAt):
		return malformed("installedAt: want a day of the calendar as YYYY-MM-DD")
	}
	return k.attributes(r)
}

func (k *checker) attributes(r row) fault {
	if len(r.Attributes) > maxAttributes {
		return malformed("attributes: %d of them; at most %d are taken", len(r.Attributes), maxAttributes)
	}
	for name, value := range r.Attributes {
		if !validAttribute(name) {
			return malformed("attributes: a name is no text of 1 to %d characters", maxAttributeName)
		}
		if !text(string(value), maxAttributeValue) {
			return malformed("attributes: a value is no text of at most %d characters", maxAttributeValue)
		}
	}
	return fault{}
}

func (k *checker) position(r row) fault {
	switch {
	case (r.Longitude == "") != (r.Latitude == ""):
		return malformed("longitude and latitude belong together: write both, or neither")
	case r.Longitude != "" && !degrees(longitudeNum, r.Longitude, 180):
		return malformed("longitude: want decimal degrees from -180 to 180, at most 9 digits after the point, such as 113.6254")
	case r.Latitude != "" && !degrees(latitudeNum, r.Latitude, 90):
		return malformed("latitude: want decimal degrees from -90 to 90, at most 9 digits after the point, such as 34.7466")
	}
	switch r.CRS {
	case "", v1alpha1.CRSCGCS2000, v1alpha1.CRSWGS84, v1alpha1.CRSGCJ02, v1alpha1.CRSBD09:
		return fault{}
	}
	return malformed("crs: want CGCS2000, WGS84, GCJ02 or BD09")
}

// place checks where the device hangs.
func (k *checker) place(r row) fault {
	switch {
	case r.Community == "" && (r.Grid != "" || r.Compound != "" || r.MicroGrid != ""):
		return malformed("community: empty; write the name of the Community that the grid or compound is in")
	case r.MicroGrid != "" && r.Grid == "":
		return malformed("grid: empty; write the name of the grid that the micro-grid is in")
	}
	if !k.looksUp() {
		return named("community", r.Community, "grid", r.Grid, "microGrid", r.MicroGrid, "compound", r.Compound)
	}
	if r.Community == "" {
		return fault{}
	}
	community, ok := k.s.Communities.Get(r.Community)
	if !ok {
		return fault{v1alpha1.RowUnknownCommunity, "community: no Community " + quoted(r.Community) + " on this platform"}
	}
	if r.Compound != "" && !slices.ContainsFunc(community.Spec.Compounds, func(c v1alpha1.Compound) bool { return c.Name == r.Compound }) {
		return fault{v1alpha1.RowUnknownCompound, "compound: Community " + r.Community + " has no compound " + quoted(r.Compound)}
	}
	return k.grid(community, r)
}

func (k *checker) grid(community *v1alpha1.Community, r row) fault {
	if r.Grid == "" {
		return fault{}
	}
	i := slices.IndexFunc(community.Spec.Grids, func(g v1alpha1.Grid) bool { return g.Name == r.Grid })
	switch {
	case i < 0 && k.elsewhere(r.Grid):
		// Which community has it is not said: a vendor sees its own namespace only.
		return fault{v1alpha1.RowGridOfOtherCommunity, "grid: " + quoted(r.Grid) + " is a grid of another community, not of " + r.Community + "; correct one of the two"}
	case i < 0:
		return fault{v1alpha1.RowUnknownGrid, "grid: Community " + r.Community + " has no grid " + quoted(r.Grid)}
	case r.MicroGrid != "" && !slices.ContainsFunc(community.Spec.Grids[i].MicroGrids, func(m v1alpha1.MicroGrid) bool { return m.Name == r.MicroGrid }):
		return fault{v1alpha1.RowUnknownMicroGrid, "microGrid: grid " + r.Grid + " of Community " + r.Community + " has no micro-grid " + quoted(r.MicroGrid)}
	}
	return fault{}
}

// elsewhere reports whether any community has a grid of that name.
func (k *checker) elsewhere(grid string) bool {
	if k.grids == nil {
		k.grids = map[string]bool{}
		for name := range k.s.Communities {
			community, _ := k.s.Communities.Get(name)
			for _, g := range community.Spec.Grids {
				k.grids[g.Name] = true
			}
		}
	}
	return k.grids[grid] || k.s.GridsThere[grid]
}

func (k *checker) maintainer(r row) fault {
	if !k.looksUp() || r.Maintainer == "" {
		return named("maintainer", r.Maintainer)
	}
	if _, ok := k.s.Organizations.Get(r.Maintainer); !ok {
		return fault{v1alpha1.RowUnknownMaintainer, "maintainer: no Organization " + quoted(r.Maintainer) + " on this platform"}
	}
	return fault{}
}

// client checks the client id that a row binds, by what the broker's engine takes. NATS makes subjects of it, so a dot, a wildcard or
// a space can never stand in one.
func (k *checker) client(r row) fault {
	limit, engine := maxClientID, "NATS"
	if k.looksUp() && UsesEMQX(k.s.Platform) {
		limit, engine = maxClientIDEMQX, "EMQX"
	}
	if r.ClientID != "" && (len(r.ClientID) > limit || !clientID.MatchString(r.ClientID)) {
		return malformed("clientID: want 1 to %d letters, digits, _, -, : or @, which is what engine %s takes", limit, engine)
	}
	// Whether such a device is there or not: it may come, and would find its client id taken, or take it from this one.
	fleet, device, ok := contract.ParseClientID(r.ClientID)
	if ok && (device != r.Device || k.fleet != nil && fleet != k.fleet.Name) {
		return fault{v1alpha1.RowReserved, "clientID: a lower-case name and _ at its beginning stand for the devices of a fleet of that name (`<fleet>_<device>`); " +
			"bind one without _, or with a capital letter before it"}
	}
	return fault{}
}

// credential checks the hashes of a row. Without a fleet a row may have them or not.
func (k *checker) credential(r row) fault {
	switch {
	case (r.PreviousPasswordHash == "") != (r.PreviousUntil == ""):
		return fault{v1alpha1.RowCredential, "previousPasswordHash and previousUntil belong together; write both, or neither"}
	case k.fleet == nil && r.PasswordHash == "" && r.PreviousPasswordHash == "":
		return fault{}
	case k.fleet != nil && k.fleet.Spec.Identity.Type != v1alpha1.FleetIdentityPassword:
		if r.PasswordHash != "" || r.PreviousPasswordHash != "" {
			return fault{v1alpha1.RowCredential, "passwordHash: the fleet's identity type is X509; leave it out"}
		}
		return fault{}
	case k.fleet != nil && k.fleet.Spec.AccessMode != v1alpha1.AccessDevice && k.fleet.Spec.AccessMode != "":
		return fault{} // the row may have none: see speakers
	}
	if _, err := password.Parse(r.PasswordHash); err != nil {
		return fault{v1alpha1.RowCredential, "passwordHash: want a hash as `dizuo fleet passwords` makes it: " + err.Error()}
	}
	if r.PreviousPasswordHash == "" {
		return fault{}
	}
	if _, err := password.Parse(r.PreviousPasswordHash); err != nil {
		return fault{v1alpha1.RowCredential, "previousPasswordHash: want a hash as `dizuo fleet passwords --rotate` moves it there: " + err.Error()}
	}
	if _, err := time.Parse(time.RFC3339, r.PreviousUntil); err != nil {
		return fault{v1alpha1.RowCredential, "previousUntil: want a time such as 2026-12-31T00:00:00Z"}
	}
	return fault{}
}

// lost says that another fleet holds what a row claims. It is named only to those who may see it: a neighbour in the namespace, or
// the platform's own.
func (k *checker) lost(c fieldClaim) fault {
	if !k.looksUp() || k.s.Claimed == nil || k.fleet == nil {
		return fault{}
	}
	holder, lost := k.s.Claimed(types.NamespacedName{Namespace: k.fleet.Namespace, Name: k.fleet.Name}, c.claim)
	if !lost {
		return fault{}
	}
	who := "another fleet of this platform"
	if holder.Namespace == k.fleet.Namespace || holder.Namespace == k.s.Platform.Namespace {
		who = "DeviceFleet " + holder.Name
	}
	return fault{v1alpha1.RowClaimed, c.field + ": " + who + " holds it and keeps it until it lets go; correct the row, or have the device taken out there"}
}

// named checks values that name an object, given as field and value in turn.
func named(pairs ...string) fault {
	for pair := range slices.Chunk(pairs, 2) {
		if pair[1] != "" && !objectName.MatchString(pair[1]) {
			return malformed("%s: want the name of an object: lower-case letters, digits and hyphens, at most 63", pair[0])
		}
	}
	return fault{}
}

// quoted repeats a value only if it can be the name of an object: another may be a name of a person or an address.
func quoted(v string) string {
	if objectName.MatchString(v) {
		return v
	}
	return "of that name"
}

// text reports whether a value is text of at most that many characters, without control characters. Empty is text.
func text(v string, most int) bool {
	return utf8.ValidString(v) && utf8.RuneCountInString(v) <= most && !strings.ContainsFunc(v, unicode.IsControl)
}

func validAttribute(name string) bool { return name != "" && text(name, maxAttributeName) }

func validVia(v string) bool {
	_, device, err := contract.ParseDeviceID(v)
	return err == nil && len(v) <= 105 && device != contract.PlatformDevice
}

// date reports whether a value is a day that was: 2026-02-31 never is.
func date(v string) bool {
	_, err := time.Parse(time.DateOnly, v)
	return err == nil
}

func degrees(form *regexp.Regexp, v string, most float64) bool {
	n, err := strconv.ParseFloat(v, 64)
	return err == nil && form.MatchString(v) && n >= -most && n <= most
}
