package contract

import (
	"slices"
	"strings"
	"time"
)

// Directory is the document below "dizuo" of ShardDirectory.
type Directory struct {
	// Platform that the bundle belongs to.
	Platform Platform `json:"platform"`
	// Communities by object name.
	Communities map[string]Community `json:"communities"`
	// Organizations by object name.
	Organizations map[string]Organization `json:"organizations"`
}

// Platform is what nodes know of the GridPlatform.
type Platform struct {
	// Name and Namespace of the GridPlatform object.
	Name      string `json:"name"`
	Namespace string `json:"namespace"`
	// DisplayName for people.
	DisplayName string `json:"displayName,omitempty"`
	// TimeZone is an IANA name; schedules and quotas count days in it.
	TimeZone string `json:"timeZone"`
	// SLA by severity.
	SLA map[Severity]SLA `json:"sla"`
	// Calendar says which days are worked; nil takes Monday to Friday.
	Calendar *Calendar `json:"calendar,omitempty"`
	// Modes that the platform may be switched to, by name.
	Modes map[string]Mode `json:"modes,omitempty"`
	// OIDC are the issuers whose tokens are taken.
	OIDC []OIDCProvider `json:"oidc,omitempty"`
	// AuditKeys are the public keys (base64 of SPKI, DER) by which gateways sign checkpoints, former ones included.
	AuditKeys []string `json:"auditKeys,omitempty"`
	// Witnesses receive checkpoints.
	Witnesses []Witness `json:"witnesses,omitempty"`
	// BadScore is the best score for which a closed case goes back to who handled it; 0 takes the service's own.
	BadScore int `json:"badScore,omitempty"`
	// Integrations by name: systems that cases are exchanged with.
	Integrations map[string]Integration `json:"integrations,omitempty"`
	// Retention of what services keep; zero values keep it for ever.
	Retention Retention `json:"retention,omitzero"`
}

// Calendar says which days are worked, in the platform's time zone.
type Calendar struct {
	// Weekdays worked, as time.Weekday counts: Sunday is 0.
	Weekdays []int `json:"weekdays"`
	// Holidays are dates, as YYYY-MM-DD, not worked though their weekday is; Workdays the other way round (调休).
	Holidays []string `json:"holidays,omitempty"`
	Workdays []string `json:"workdays,omitempty"`
	// Hours worked on such a day. One over midnight belongs to the day on which it opens. Empty takes WorkingHours.
	Hours []Window `json:"hours,omitempty"`
}

// Works says whether the day of t, in t's zone, is worked: a day that is made one (调休) is, a holiday is not, else its weekday says. A nil
// calendar works Monday to Friday.
func (c *Calendar) Works(t time.Time) bool {
	if c == nil {
		return t.Weekday() != time.Saturday && t.Weekday() != time.Sunday
	}
	switch day := t.Format(time.DateOnly); {
	case slices.Contains(c.Workdays, day):
		return true
	case slices.Contains(c.Holidays, day):
		return false
	}
	return slices.Contains(c.Weekdays, int(t.Weekday()))
}

// WorkingHours are those of a calendar that says none: 9:00 to 12:00 and 13:30 to 17:30.
func WorkingHours() []Window {
	return []Window{{From: 9 * 60, To: 12 * 60}, {From: 13*60 + 30, To: 17*60 + 30}}
}

// OIDCProvider is an OpenID Connect issuer.
type OIDCProvider struct {
	Name      string   `json:"name"`
	Issuer    string   `json:"issuer"`
	Audiences []string `json:"audiences"`
	// CABundle is PEM; empty trusts the system's roots.
	CABundle string `json:"caBundle,omitempty"`
	// SubjectClaim, OrganizationClaim and RolesClaim name the claims with the person's id, organisation and roles.
	SubjectClaim      string `json:"subjectClaim"`
	OrganizationClaim string `json:"organizationClaim"`
	RolesClaim        string `json:"rolesClaim"`
}

// Witness receives checkpoints of decision logs.
type Witness struct {
	Name string `json:"name"`
	URL  string `json:"url"`
	// PublicKey is the base64 of the SPKI (DER) by which it signs receipts.
	PublicKey string `json:"publicKey"`
	// CABundle is PEM; empty trusts the system's roots.
	CABundle string `json:"caBundle,omitempty"`
}

// Retention says how long what is over is kept; see Kept for what it is about.
type Retention struct {
	// CommandSeconds keeps a command and a case, with its history, after it is over.
	CommandSeconds int64 `json:"commandSeconds,omitempty"`
	// CommandClasses go before it, by the data class of the alarm that gave the command or opened the case.
	CommandClasses map[string]int64 `json:"commandClasses,omitempty"`
	// NoteSeconds keeps notes of a case after it is over; NoteClasses go before it, by the case's data class.
	NoteSeconds int64            `json:"noteSeconds,omitempty"`
	NoteClasses map[string]int64 `json:"noteClasses,omitempty"`
	// DeliverySeconds keeps a message after it was delivered or given up, SignalSeconds telemetry by the hour, DecisionLogSeconds bodies
	// of the decision log.
	DeliverySeconds int64 `json:"deliverySeconds,omitempty"`
	SignalSeconds   int64 `json:"signalSeconds,omitempty"`
	// SignalClasses go before SignalSeconds, by the data class of the fleet's profile; see SignalsOf.
	SignalClasses      map[string]int64 `json:"signalClasses,omitempty"`
	DecisionLogSeconds int64            `json:"decisionLogSeconds,omitempty"`
}

// SignalsOf gives for how many seconds signals are kept whose profile says so itself, own, or has a data class. Without either they go by
// the gravest class. 0 is of an older bundle, which does not say: nothing goes.
func (r Retention) SignalsOf(own int64, class string) int64 {
	if r.SignalSeconds <= 0 {
		return 0
	}
	if own > 0 {
		return own
	}
	if class == "" {
		class = "C3"
	}
	if seconds, ok := r.SignalClasses[class]; ok {
		return seconds
	}
	return r.SignalSeconds
}

// Severity of an alarm and of the case that it opens.
type Severity string

// Severities, gravest first.
const (
	SeverityCritical Severity = "Critical"
	SeverityHigh     Severity = "High"
	SeverityMedium   Severity = "Medium"
	SeverityLow      Severity = "Low"
)

// SLA is the time allowed for a case of one severity.
type SLA struct {
	// AcknowledgeSeconds until somebody has taken the case.
	AcknowledgeSeconds int64 `json:"acknowledgeSeconds"`
	// OnSiteSeconds until somebody is there; 0 is not measured.
	OnSiteSeconds int64 `json:"onSiteSeconds,omitempty"`
	// ResolveSeconds until the case is closed; 0 is not measured.
	ResolveSeconds int64 `json:"resolveSeconds"`
	// Working counts only working time.
	Working bool `json:"working,omitempty"`
}

// Community is what nodes know of a Community: a row scope and the posts that answer for it.
type Community struct {
	// DisplayName for people, such as 荆胡社区.
	DisplayName string `json:"displayName,omitempty"`
	// Division is the 12-digit statistical code in force.
	Division string `json:"division"`
	// FormerDivisions are codes that old rows may still carry.
	FormerDivisions []string `json:"formerDivisions,omitempty"`
	// Compounds by name.
	Compounds []string `json:"compounds,omitempty"`
	// Posts of the community, who stand above those of its grids.
	Posts []string `json:"posts,omitempty"`
	// Grids of the community.
	Grids []Grid `json:"grids,omitempty"`
}

// Codes gives every division code under which rows of the community are stored.
func (c Community) Codes() []string { return append([]string{c.Division}, c.FormerDivisions...) }

// Grid is a 网格 and the posts (岗位) that answer for it. People are in the roster, never here.
type Grid struct {
	Name  string   `json:"name"`
	Code  string   `json:"code,omitempty"`
	Posts []string `json:"posts,omitempty"`
	// Compounds of the community that lie in the grid, by name.
	Compounds []string `json:"compounds,omitempty"`
	// MicroGrids (微网格) of the grid.
	MicroGrids []MicroGrid `json:"microGrids,omitempty"`
}

// MicroGrid is a part of a grid: some buildings, and the posts that answer for them first.
type MicroGrid struct {
	Name      string   `json:"name"`
	Posts     []string `json:"posts,omitempty"`
	Buildings []string `json:"buildings,omitempty"`
}

// MicroGridOf gives the micro-grid of a building of a grid; empty if it is in none.
func (c Community) MicroGridOf(grid, building string) string {
	for _, g := range c.Grids {
		if g.Name != grid || building == "" {
			continue
		}
		for _, m := range g.MicroGrids {
			if slices.Contains(m.Buildings, building) {
				return m.Name
			}
		}
	}
	return ""
}

// Organization is what nodes know of an Organization.
type Organization struct {
	// Namespace that the Organization stands in: another of its name is another.
	Namespace string `json:"namespace,omitempty"`
	// DisplayName for people.
	DisplayName string `json:"displayName,omitempty"`
	// Type is the api type, such as "Fire" or "PropertyCompany".
	Type string `json:"type"`
	// Jurisdiction lists division prefixes.
	Jurisdiction []string `json:"jurisdiction,omitempty"`
	// Duties that dispatch looks for, such as "fire".
	Duties []string `json:"duties,omitempty"`
	// KeyDigests are SHA-256 digests of the public keys (SPKI, DER) of the organisation's systems.
	KeyDigests []string `json:"keyDigests,omitempty"`
	// PersonKeyDigests are those of the keys that sign tokens for its people, and nothing else. Where there are any, no key and no
	// certificate of a system signs such tokens.
	PersonKeyDigests []string `json:"personKeyDigests,omitempty"`
	// URIs are certificate URIs, under the platform's own CA, that speak for the organisation.
	URIs []string `json:"uris,omitempty"`
	// OIDC says which tokens speak for the organisation.
	OIDC []OIDCIdentity `json:"oidc,omitempty"`
	// Compounds of a property company, each as "<community>/<compound>".
	Compounds []string `json:"compounds,omitempty"`
	// Within are prefixes of the divisions in which Compounds count where there is no Jurisdiction: those of the organisation's namespace.
	Within []string `json:"within,omitempty"`
	// Clearance is the highest data class that it may be given, "C0" to "C3".
	Clearance string `json:"clearance,omitempty"`
	// Delivery is DeliveryMQTT where cases go to the organisation's topic; else Webhook says whether they are sent.
	Delivery string `json:"delivery,omitempty"`
	// Events are the names of what is sent, such as "CaseDispatched"; empty sends all.
	Events []string `json:"events,omitempty"`
	// Webhook is where cases are sent, if anywhere.
	Webhook *Webhook `json:"webhook,omitempty"`
}

// Ways in which cases are sent to an organisation.
const (
	DeliveryWebhook = "Webhook"
	DeliveryMQTT    = "MQTT"
)

// OIDCIdentity says which tokens of an OIDCProvider are an organisation's: those of a Subject, those with a Claim, or both.
type OIDCIdentity struct {
	Provider string `json:"provider"`
	Subject  string `json:"subject,omitempty"`
	// Claim must be Value or, where it is a list, hold it.
	Claim string `json:"claim,omitempty"`
	Value string `json:"value,omitempty"`
}

// Webhook is an endpoint that takes CloudEvents, signed by Standard Webhooks. Its secret is a file of the grid service,
// named WebhookSecretFile, never a part of a bundle.
type Webhook struct {
	URL string `json:"url"`
	// CABundle is PEM; empty trusts the system's roots.
	CABundle string `json:"caBundle,omitempty"`
}

// WebhookSecretFile names the file, in the folder of webhook secrets, that holds an organisation's secret.
func WebhookSecretFile(organization string) string { return organization }

// Covers gives the length of the longest prefix in the jurisdiction that matches the division, or 0 if none does.
func (o Organization) Covers(division string) int { return longest(o.Jurisdiction, division) }

// longest gives the length of the longest of the prefixes that a division has.
func longest(prefixes []string, division string) int {
	longest := 0
	for _, p := range prefixes {
		if strings.HasPrefix(division, p) && len(p) > longest {
			longest = len(p)
		}
	}
	return longest
}

// Place is where something is: in a community, and in a grid and a compound (小区) of it where these are known.
type Place struct{ Community, Grid, Compound string }

// ofCompound is how near the company of a compound acts to it: any number above 0, as it is compared with such companies alone.
const ofCompound = 1

// Reach says how near an organisation acts to a place; 0 is not at all. It is the length of the prefix of its jurisdiction that matches the
// community's division. A property company that names compounds acts in those alone, within its jurisdiction; where the compound of the place is not
// known, those of its grid stand for it.
func (d Directory) Reach(o Organization, p Place) int {
	if len(o.Compounds) == 0 {
		return o.Covers(d.Communities[p.Community].Division)
	}
	if !d.ActsIn(o, p.Community) {
		return 0
	}
	for _, name := range d.compoundsAt(p) {
		if slices.Contains(o.Compounds, p.Community+"/"+name) {
			return ofCompound
		}
	}
	return 0
}

func (d Directory) compoundsAt(p Place) []string {
	if p.Compound != "" {
		return []string{p.Compound}
	}
	for _, g := range d.Communities[p.Community].Grids {
		if g.Name == p.Grid && p.Grid != "" {
			return g.Compounds
		}
	}
	return nil
}

// ActsIn says whether an organisation acts in a community, in a part of it at least.
func (d Directory) ActsIn(o Organization, community string) bool {
	division := d.Communities[community].Division
	if len(o.Compounds) == 0 {
		return o.Covers(division) > 0
	}
	within := o.Jurisdiction
	if len(within) == 0 {
		within = o.Within
	}
	return longest(within, division) > 0 && slices.ContainsFunc(o.Compounds, func(k string) bool { return strings.HasPrefix(k, community+"/") })
}

// Responsible gives the organisations of one of the types, or of any if none is given, with a duty that act nearest to a place, sorted by name. More
// than one means that several share the duty there; none means that nobody holds it. Companies of compounds and all others do not take a place from
// each other: a company that has a fire duty in its compound does not keep the brigade away.
func (d Directory) Responsible(duty string, p Place, types ...string) []string {
	var names []string
	for _, ofCompounds := range []bool{true, false} {
		names = append(names, d.Nearest(p, func(o Organization) bool {
			return slices.Contains(o.Duties, duty) && ofCompounds == (len(o.Compounds) > 0) && (len(types) == 0 || slices.Contains(types, o.Type))
		})...)
	}
	slices.Sort(names)
	return names
}

// Nearest gives the organisations that act nearest to a place, sorted by name, of those that fit; none that does not act there.
func (d Directory) Nearest(p Place, fits func(Organization) bool) (names []string) {
	var best int
	for name, o := range d.Organizations {
		if !fits(o) {
			continue
		}
		switch n := d.Reach(o, p); {
		case n == 0 || n < best:
		case n > best:
			best, names = n, []string{name}
		default:
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// CodesIn gives the division codes, former ones included, that lie under one of the prefixes, of the communities that are
// named, if names is not empty. The result is sorted. A community that is gone from the directory gives no code, so its rows are out of
// reach at once.
func (d Directory) CodesIn(prefixes, names []string) []string {
	codes := []string{}
	for name, c := range d.Communities {
		if len(names) > 0 && !slices.Contains(names, name) {
			continue
		}
		// A former code counts only where it lies under a prefix itself: a community's past must not widen a grant.
		for _, code := range c.Codes() {
			if slices.ContainsFunc(prefixes, func(p string) bool { return strings.HasPrefix(code, p) }) {
				codes = append(codes, code)
			}
		}
	}
	slices.Sort(codes)
	return codes
}

// PersonClaims are the claims of a token that an organisation signs for one of its people (JWT, RFC 7519).
//
//	iss: organisation   sub: a pseudonym of the person   aud: PersonAudience   exp: at most MaxPersonTokenLife after iat
type PersonClaims struct {
	// Role of the person, such as "GridWorker"; agreements and the grid service name roles.
	Role string `json:"role"`
}

// MaxPersonTokenLife is the longest life of a person's token.
const MaxPersonTokenLife = 15 * time.Minute

// PersonAudience gives the audience of a person's token for one role of one platform.
func PersonAudience(namespace, platform string, r Role) string {
	return "dizuo:" + namespace + "/" + platform + ":" + string(r)
}
