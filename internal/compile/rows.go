package compile

import (
	"cmp"
	"encoding/json"
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

// fleetRows are the rows of a fleet, taken in or rejected, with all that decided on them.
type fleetRows struct {
	from inputs
	// until is when time decides otherwise; zero for never.
	until time.Time

	rows   contract.DeviceRows
	digest string
	// claims are sorted.
	claims         []DeviceClaim
	rejected       []v1alpha1.RejectedRow
	byCode         []v1alpha1.RejectedCount
	refused, total int
	// unread are the gateway fleets whose inventories are not all there, by name.
	unread map[string]Problem
}

// inputs are all that decides on the rows of a fleet, but for the time.
type inputs struct {
	terms   terms
	sources []*Source
	// verdicts on the places of the sources, in order.
	verdicts []fault
	gateways []*gateway
	// barred are devices that are not let in, whatever row or certificate they have.
	barred []string
	// contested says that claims are asked about; turns changes when an answer does.
	contested bool
	turns     uint64
}

func (a inputs) same(b inputs) bool {
	return a.terms == b.terms && a.contested == b.contested && a.turns == b.turns && slices.Equal(a.verdicts, b.verdicts) && slices.Equal(a.barred, b.barred) &&
		slices.EqualFunc(a.sources, b.sources, (*Source).same) && slices.EqualFunc(a.gateways, b.gateways, (*gateway).same)
}

// rowsOf gives the rows of a fleet that stand in these sources. Where nothing that decides on them is other than it was, they are those of
// before.
func rowsOf(s *Snapshot, o *v1alpha1.DeviceFleet, list []*Source, before *fleetRows) *fleetRows {
	k := newChecker(s, o)
	from := inputs{terms: k.terms, sources: list, gateways: k.speakers.named(list), contested: s.Claimed != nil, turns: s.Turns}
	if k.open && !k.suspended {
		from.barred = o.Spec.Inventory.Open.Refused
	}
	for _, source := range list {
		for _, at := range source.places {
			from.verdicts = append(from.verdicts, k.place(at))
		}
	}
	if before != nil && before.from.same(from) && (before.until.IsZero() || s.Now.Before(before.until)) {
		return before
	}
	out := &fleetRows{from: from}
	inv := newInventory(func(r *row) fault {
		if f := k.take(r); f.code != "" {
			return f
		}
		out.rows = append(out.rows, contract.DeviceRow{Name: r.device, Community: r.at.community, Device: r.doc, Credential: k.credentialOf(r)})
		return fault{}
	})
	inv.read(list)
	for _, g := range from.gateways {
		g.devices = nil // they are not asked for again
	}
	out.rows.Sort()
	out.rows = slices.Clip(bar(out.rows, from.barred))
	slices.SortFunc(k.claims, compareClaims)
	out.until, out.digest, out.claims, out.unread = k.until, out.rows.Digest(), slices.Compact(k.claims), k.speakers.unread
	out.total, out.refused, out.rejected, out.byCode = inv.total, inv.refused, inv.rejected, inv.byCode()
	return out
}

// bar takes admission from devices, with a row or without: known, and not admitted, as one in store. rows are in order before and after.
// A device may be named twice: outside an API server nobody keeps a list to be a set.
func bar(rows contract.DeviceRows, devices []string) contract.DeviceRows {
	sorted := len(rows)
	for _, device := range slices.Compact(slices.Sorted(slices.Values(devices))) {
		if at, found := rows[:sorted].Find(device); found {
			rows[at].Credential = storedCredential
		} else {
			rows = append(rows, contract.DeviceRow{Name: device, Credential: storedCredential})
		}
	}
	if len(rows) > sorted {
		rows.Sort()
	}
	return rows
}

var (
	plainCredential  = contract.EncodeCredential(contract.Credential{})
	storedCredential = contract.EncodeCredential(contract.Credential{Stored: true})
)

// credentialOf gives what the device of a row that was just taken proves itself by, encoded; nil where it is not admitted. A hash whose
// overlap is over is left out.
func (k *checker) credentialOf(r *row) json.RawMessage {
	switch {
	case k.suspended:
		return nil
	case r.at.community == "": // in store: known, and not admitted before it hangs somewhere
		if k.open { // else it would be taken in as one that no row names
			return storedCredential
		}
		return nil
	case k.via == "" && k.mode == v1alpha1.AccessPlatform: // the payload of the cloud names it
		return nil
	case k.via == "" && r.proof == nil:
		return plainCredential
	}
	has := r.proves()
	c := contract.Credential{ClientID: has.clientID, PasswordHash: has.passwordHash, Via: k.via}
	if until, err := time.Parse(time.RFC3339, has.previousUntil); err == nil && has.previousPasswordHash != "" && k.s.Now.Before(until) {
		c.PreviousHash, c.PreviousUntil = has.previousPasswordHash, until.Unix()
		if k.until.IsZero() || until.Before(k.until) {
			k.until = until
		}
	}
	return contract.EncodeCredential(c)
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

// terms are what matters for rows of their fleet and its platform, beside names of other objects.
type terms struct {
	// fleet is unset where rows are checked for what holds in every fleet.
	fleet   types.NamespacedName
	ofFleet bool
	// platform is unset where there is none to look names up on.
	platform   types.NamespacedName
	onPlatform bool
	emqx       bool
	mode       v1alpha1.AccessMode
	identity   v1alpha1.FleetIdentityType
	// inPayload says that the payloads of a cloud name the device.
	inPayload bool
	open      bool
	suspended bool
}

func termsOf(s *Snapshot, o *v1alpha1.DeviceFleet) (t terms) {
	if s != nil && s.Platform != nil {
		t.platform, t.onPlatform, t.emqx = types.NamespacedName{Namespace: s.Platform.Namespace, Name: s.Platform.Name}, true, UsesEMQX(s.Platform)
	}
	if o != nil {
		t.fleet, t.ofFleet = types.NamespacedName{Namespace: o.Namespace, Name: o.Name}, true
		t.mode, t.identity, t.suspended = cmp.Or(o.Spec.AccessMode, v1alpha1.AccessDevice), o.Spec.Identity.Type, o.Spec.Suspended
		t.inPayload = o.Spec.Mapping != nil && o.Spec.Mapping.Device != ""
		t.open = o.Spec.Inventory != nil && o.Spec.Inventory.Open != nil && o.Spec.Inventory.Open.Max > 0
	}
	return t
}

// checker says what is wrong with the rows of a fleet, one after the other. Without a Snapshot with a platform it checks what a row says
// by itself, and without a fleet what holds for every fleet.
type checker struct {
	terms
	s *Snapshot
	// verdicts on places that were looked at.
	verdicts map[*place]fault
	// devices and claimed are those of the rows that were taken, claims what they and the rows that another fleet keeps out claim.
	devices map[string]bool
	claimed map[DeviceClaim]bool
	claims  []DeviceClaim
	// speakers finds who speaks for a row; via is who does for the row that was taken last.
	speakers *speakers
	via      string
	// until is when a credential ends that was given.
	until time.Time
	// grids of all communities of the Snapshot, once one was looked for in vain.
	grids map[string]bool
}

func newChecker(s *Snapshot, o *v1alpha1.DeviceFleet) *checker {
	t := termsOf(s, o)
	return &checker{terms: t, s: s, verdicts: map[*place]fault{}, devices: map[string]bool{}, claimed: map[DeviceClaim]bool{}, speakers: newSpeakers(s, t)}
}

// take says what is wrong with a row by itself or beside those that were taken before, or nothing: then it is taken.
func (k *checker) take(r *row) fault {
	if f := k.row(r); f.code != "" {
		return f
	}
	if k.devices[r.device] {
		return fault{v1alpha1.RowDuplicate, "device stands in the inventory twice; remove one of the rows"}
	}
	for _, c := range r.claims {
		if k.claimed[c] {
			return fault{v1alpha1.RowDuplicate, c.field() + " is that of another device of the fleet; give each its own"}
		}
	}
	for _, c := range r.claims {
		k.claimed[c] = true
		k.claims = append(k.claims, c)
	}
	for _, c := range r.claims {
		if f := k.lost(c); f.code != "" {
			return f
		}
	}
	var f fault
	if k.via, f = k.speaker(r); f.code != "" {
		return f
	}
	k.devices[r.device] = true
	return fault{}
}

// speaker gives the device whose connection speaks for a row.
func (k *checker) speaker(r *row) (via string, f fault) {
	if !k.ofFleet || !k.onPlatform {
		return "", fault{}
	}
	return k.speakers.of(r.proves())
}

// row says what is wrong with a row by itself, or nothing. It never repeats a value that may be a name or an address of a person.
func (k *checker) row(r *row) fault {
	if r.fault != nil {
		return *r.fault
	}
	if f := k.place(r.at); f.code != "" {
		return f
	}
	has := r.proves()
	return cmp.Or(k.client(r.device, has.clientID), k.credential(has))
}

// byItself says what is wrong with a row, whatever other objects there are, or nothing.
func byItself(r v1alpha1.InventoryRow) fault { return cmp.Or(deviceName(r), form(r), position(r)) }

func deviceName(r v1alpha1.InventoryRow) fault {
	switch {
	case !contract.ValidDevice(r.Device):
		return malformed("device: want 1 to 64 letters, digits, _ or -")
	case r.Device == contract.PlatformDevice:
		return fault{v1alpha1.RowReserved, "device: " + contract.PlatformDevice + " stands for a cloud that speaks for a whole fleet; take another name"}
	}
	return fault{}
}

// form checks values that name nothing.
func form(r v1alpha1.InventoryRow) fault {
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
	return attributes(r)
}

func attributes(r v1alpha1.InventoryRow) fault {
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

func position(r v1alpha1.InventoryRow) fault {
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

// place says what is wrong with where a device hangs, or with who looks after it, or nothing.
func (k *checker) place(at *place) fault {
	f, known := k.verdicts[at]
	if !known {
		f = cmp.Or(k.hangs(at), k.maintainer(at))
		k.verdicts[at] = f
	}
	return f
}

// hangs checks where a device hangs.
func (k *checker) hangs(r *place) fault {
	switch {
	case r.community == "" && (r.grid != "" || r.compound != "" || r.microGrid != ""):
		return malformed("community: empty; write the name of the Community that the grid or compound is in")
	case r.microGrid != "" && r.grid == "":
		return malformed("grid: empty; write the name of the grid that the micro-grid is in")
	}
	if !k.onPlatform {
		return named("community", r.community, "grid", r.grid, "microGrid", r.microGrid, "compound", r.compound)
	}
	if r.community == "" {
		return fault{}
	}
	community, ok := k.s.Communities.Get(r.community)
	if !ok {
		return fault{v1alpha1.RowUnknownCommunity, "community: no Community " + quoted(r.community) + " on this platform"}
	}
	if r.compound != "" && !slices.ContainsFunc(community.Spec.Compounds, func(c v1alpha1.Compound) bool { return c.Name == r.compound }) {
		return fault{v1alpha1.RowUnknownCompound, "compound: Community " + r.community + " has no compound " + quoted(r.compound)}
	}
	return k.grid(community, r)
}

func (k *checker) grid(community *v1alpha1.Community, r *place) fault {
	if r.grid == "" {
		return fault{}
	}
	i := slices.IndexFunc(community.Spec.Grids, func(g v1alpha1.Grid) bool { return g.Name == r.grid })
	switch {
	case i < 0 && k.elsewhere(r.grid):
		// Which community has it is not said: a vendor sees its own namespace only.
		return fault{v1alpha1.RowGridOfOtherCommunity, "grid: " + quoted(r.grid) + " is a grid of another community, not of " + r.community + "; correct one of the two"}
	case i < 0:
		return fault{v1alpha1.RowUnknownGrid, "grid: Community " + r.community + " has no grid " + quoted(r.grid)}
	case r.microGrid != "" && !slices.ContainsFunc(community.Spec.Grids[i].MicroGrids, func(m v1alpha1.MicroGrid) bool { return m.Name == r.microGrid }):
		return fault{v1alpha1.RowUnknownMicroGrid, "microGrid: grid " + r.grid + " of Community " + r.community + " has no micro-grid " + quoted(r.microGrid)}
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

func (k *checker) maintainer(r *place) fault {
	if !k.onPlatform || r.maintainer == "" {
		return named("maintainer", r.maintainer)
	}
	if _, ok := k.s.Organizations.Get(r.maintainer); !ok {
		return fault{v1alpha1.RowUnknownMaintainer, "maintainer: no Organization " + quoted(r.maintainer) + " on this platform"}
	}
	return fault{}
}

// client checks the client id that a row binds, by what the broker's engine takes. NATS makes subjects of it, so a dot, a wildcard or
// a space can never stand in one.
func (k *checker) client(device, id string) fault {
	limit, engine := maxClientID, "NATS"
	if k.emqx {
		limit, engine = maxClientIDEMQX, "EMQX"
	}
	if id != "" && (len(id) > limit || !clientID.MatchString(id)) {
		return malformed("clientID: want 1 to %d letters, digits, _, -, : or @, which is what engine %s takes", limit, engine)
	}
	// Whether such a device is there or not: it may come, and would find its client id taken, or take it from this one.
	fleet, named, ok := contract.ParseClientID(id)
	if ok && (named != device || k.ofFleet && fleet != k.fleet.Name) {
		return fault{v1alpha1.RowReserved, "clientID: a lower-case name and _ at its beginning stand for the devices of a fleet of that name (`<fleet>_<device>`); " +
			"bind one without _, or with a capital letter before it"}
	}
	return fault{}
}

// credential checks the hashes of a row. Without a fleet a row may have them or not.
func (k *checker) credential(r proof) fault {
	switch {
	case (r.previousPasswordHash == "") != (r.previousUntil == ""):
		return fault{v1alpha1.RowCredential, "previousPasswordHash and previousUntil belong together; write both, or neither"}
	case !k.ofFleet && r.passwordHash == "" && r.previousPasswordHash == "":
		return fault{}
	case k.ofFleet && k.identity != v1alpha1.FleetIdentityPassword:
		if r.passwordHash != "" || r.previousPasswordHash != "" {
			return fault{v1alpha1.RowCredential, "passwordHash: the fleet's identity type is X509; leave it out"}
		}
		return fault{}
	case k.ofFleet && k.mode != v1alpha1.AccessDevice:
		return fault{} // the row may have none: see speakers
	}
	if _, err := password.Parse(r.passwordHash); err != nil {
		return fault{v1alpha1.RowCredential, "passwordHash: want a hash as `dizuo fleet passwords` makes it: " + err.Error()}
	}
	if r.previousPasswordHash == "" {
		return fault{}
	}
	if _, err := password.Parse(r.previousPasswordHash); err != nil {
		return fault{v1alpha1.RowCredential, "previousPasswordHash: want a hash as `dizuo fleet passwords --rotate` moves it there: " + err.Error()}
	}
	if _, err := time.Parse(time.RFC3339, r.previousUntil); err != nil {
		return fault{v1alpha1.RowCredential, "previousUntil: want a time such as 2026-12-31T00:00:00Z"}
	}
	return fault{}
}

// lost says that another fleet holds what a row claims. It is named only to those who may see it: a neighbour in the namespace, or
// the platform's own.
func (k *checker) lost(c DeviceClaim) fault {
	if !k.onPlatform || !k.ofFleet || k.s.Claimed == nil {
		return fault{}
	}
	holder, lost := k.s.Claimed(k.fleet, c)
	if !lost {
		return fault{}
	}
	who := "another fleet of this platform"
	if holder.Namespace == k.fleet.Namespace || holder.Namespace == k.platform.Namespace {
		who = "DeviceFleet " + holder.Name
	}
	return fault{v1alpha1.RowClaimed, c.field() + ": " + who + " holds it and keeps it until it lets go; correct the row, or have the device taken out there"}
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
