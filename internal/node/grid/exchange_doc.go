package grid

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/danielgtaylor/huma/v2"
	"github.com/google/uuid"

	"github.com/dizuo/dizuo/internal/contract"
)

// ExchangedCase is a case as it goes between the platform and another system, either way. It holds no personal data.
type ExchangedCase struct {
	ID       string            `json:"id" minLength:"1" maxLength:"128" doc:"By which both sides name the case in the exchange: its number where it comes from, or <platform>:<id> of a case of the platform."`
	Version  int64             `json:"version" minimum:"1" doc:"Of the case at the sender; a higher one is newer."`
	Origin   CaseOrigin        `json:"origin" doc:"Where the case comes from. It never changes."`
	Seen     int64             `json:"seen,omitempty" minimum:"0" doc:"The version of the receiver that the sender had when it wrote this."`
	State    State             `json:"state" enum:"Reported,NotFiled,Filed,Dispatched,Handling,Returned,Extended,Suspended,Verifying,Closed,Rated,Void,Reopened"`
	Class    string            `json:"class" minLength:"1" maxLength:"64"`
	Severity contract.Severity `json:"severity" enum:"Critical,High,Medium,Low"`
	Title    string            `json:"title" minLength:"1" maxLength:"120" doc:"What it is about, without names, phones or addresses."`
	// Community by name, or Division; the platform sends both.
	Community string     `json:"community,omitempty" maxLength:"253"`
	Division  string     `json:"division,omitempty" maxLength:"12" doc:"The 12-digit statistical code of the community, where its name is not known."`
	Grid      string     `json:"grid,omitempty" maxLength:"63"`
	Number    string     `json:"number,omitempty" maxLength:"64" doc:"Number that people use at the sender."`
	StartedAt *time.Time `json:"startedAt,omitempty"`
	UpdatedAt *time.Time `json:"updatedAt,omitempty"`
	Closing   []int      `json:"closing,omitempty" maxItems:"16" doc:"Numbers of the closing steps that are done, where the platform's case has any."`
}

// CaseOrigin names a case in the system that it comes from: the platform by its name, another system by the name of its integration.
type CaseOrigin struct {
	System string `json:"system" minLength:"1" maxLength:"63"`
	ID     string `json:"id" minLength:"1" maxLength:"128"`
}

// ref is the id of a case in the exchange with a system, until that says another.
func (o CaseOrigin) ref(system string) string {
	if o.System == system {
		return o.ID
	}
	return o.System + ":" + o.ID
}

// originOf says where a case comes from; us is the platform's name.
func originOf(us string, c *Case) CaseOrigin {
	if c.SourceSystem != "" && c.ExternalID != "" {
		return CaseOrigin{c.SourceSystem, c.ExternalID}
	}
	return CaseOrigin{us, c.ID.String()}
}

// render gives a case as it goes out.
func render(d contract.Directory, c *Case, id string, seen int64) ExchangedCase {
	started, updated := c.StartedAt.UTC(), c.UpdatedAt.UTC()
	return ExchangedCase{
		ID: id, Version: int64(c.Version), Origin: originOf(d.Platform.Name, c), Seen: seen, State: c.State, Class: c.Class, Severity: c.Severity, Title: c.Title,
		Community: c.Community, Division: d.Communities[c.Community].Division, Grid: c.Grid, Number: c.Number, StartedAt: &started, UpdatedAt: &updated,
	}
}

// digest is of what a document says of a case, and rest of that without the state. Neither has versions or times: what says nothing new has the same.
func (e ExchangedCase) digest() string {
	return exchangeDigest(e.Origin, e.State, e.Class, e.Severity, e.Title)
}
func (e ExchangedCase) rest() string { return exchangeDigest(e.Class, e.Severity, e.Title) }

func exchangeDigest(values ...any) string {
	raw, err := json.Marshal(values)
	if err != nil { // strings only: it cannot fail
		panic(err)
	}
	return contract.Digest(raw)
}

// checkDocument refuses a document that cannot be a case of this exchange; what is not in a path is checked by the schema there, and here where it
// was polled. It is pure.
func checkDocument(e ExchangedCase, classes []string) error {
	bad := func(field, want string) error {
		return huma.Error422UnprocessableEntity(fmt.Sprintf("body.%s: %s", field, want))
	}
	for field, text := range map[string]string{"id": e.ID, "origin.system": e.Origin.System, "origin.id": e.Origin.ID, "title": e.Title, "class": e.Class} {
		if text == "" || !utf8.ValidString(text) || strings.ContainsFunc(text, func(r rune) bool { return r < ' ' || r == 0x7f }) || utf8.RuneCountInString(text) > 128 {
			return bad(field, "write 1 to 128 characters, none of them a control character")
		}
	}
	switch {
	case e.Version < 1 || e.Seen < 0:
		return bad("version", "write a whole number from 1 on, higher for each change")
	case chineseStates[e.State] == "":
		return bad("state", fmt.Sprintf("%q is no state of a case", e.State))
	case e.Severity != contract.SeverityCritical && e.Severity != contract.SeverityHigh && e.Severity != contract.SeverityMedium && e.Severity != contract.SeverityLow:
		return bad("severity", "write Critical, High, Medium or Low")
	case utf8.RuneCountInString(e.Title) > 120 || len(e.Class) > 64:
		return bad("title", "write at most 120 characters, and a class of at most 64")
	case len(classes) > 0 && !slices.Contains(classes, e.Class):
		return bad("class", fmt.Sprintf("cases of class %q are not exchanged with this system; write one of %s", e.Class, strings.Join(classes, ", ")))
	}
	return nil
}

// communityOf finds the community of a document, by name or by a division code, former ones included. It is pure.
func communityOf(d contract.Directory, e ExchangedCase) (string, bool) {
	if e.Community != "" {
		_, ok := d.Communities[e.Community]
		return e.Community, ok
	}
	for _, name := range slices.Sorted(maps.Keys(d.Communities)) {
		if slices.Contains(d.Communities[name].Codes(), e.Division) {
			return name, true
		}
	}
	return "", false
}

// byExchange are the actions that the exchange may take of itself. It calls nobody, and extends nothing: an extension has a reason and an end.
var byExchange = []Action{Acknowledge, Close, Decline, MarkVoid, Rate, Reopen, RequestVerification, Resume, Return, Rework}

// passedThrough are the states through which the exchange may take a case on the way to another.
var passedThrough = []State{Handling, Verifying, Closed}

// stepsTo gives the fewest actions by which a role leads a case from one state to another, and nil where there are none. Where ahead is set, what
// takes a case back is left out. It is pure.
func stepsTo(from, to State, by Role, ahead bool) []Action {
	way, todo := map[State][]Action{from: {}}, []State{from}
	for len(todo) > 0 {
		at := todo[0]
		todo = todo[1:]
		for _, a := range byExchange {
			next, err := Next(at, a, by)
			if _, known := way[next]; err != nil || known || ahead && (a == Rework || a == Reopen || a == Return) {
				continue
			}
			way[next] = append(slices.Clone(way[at]), a)
			switch {
			case next == to:
				return way[next]
			case slices.Contains(passedThrough, next) && (next != Closed || to == Rated):
				todo = append(todo, next)
			}
		}
	}
	return nil
}

// asked says what a document asks of a case: by which actions it becomes what the document says. base is the state that the other side was known to
// have. Nothing is asked where that did not change, or both are the same. Where both changed, neither knowing of the other, the system that the case
// comes from decides: theirs says that it is the other one. refused says that what it asks for is not taken. It is pure.
func asked(base State, c *Case, e ExchangedCase, theirs bool) (steps []Action, refused string) {
	if e.State == c.State || e.State == base {
		return nil, ""
	}
	role, both := RoleOrganizationSystem, c.State != base && e.Seen != int64(c.Version)
	if theirs {
		role = RoleOrigin
	}
	if steps = stepsTo(c.State, e.State, role, both && !theirs); steps == nil {
		return nil, fmt.Sprintf("a case that is %s does not become %s over the exchange", c.State, e.State)
	}
	return steps, ""
}

// errRefused says what the exchange did not take of a document: it was read, and is written down.
func errRefused(number, why string) error {
	return huma.NewError(http.StatusConflict, fmt.Sprintf("case %s: %s; read it again, it stays as it is", number, why))
}

// caseIDOf reads the id of a case of the platform.
func caseIDOf(id string) (uuid.UUID, error) {
	out, err := uuid.Parse(id)
	if err != nil {
		return out, huma.Error422UnprocessableEntity("body.origin.id: no id of a case of the platform; write the one that it sent")
	}
	return out, nil
}
