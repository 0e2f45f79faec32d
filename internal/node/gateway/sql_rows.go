package gateway

import (
	"fmt"
	"strings"

	"github.com/huandu/go-sqlbuilder"

	"github.com/dizuo/dizuo/internal/contract"
)

// This file gives the rows of a selection: a conjunction of what the decision says, of the consumer's own filter, and of consent. A part
// that cannot be enforced is an error. NULL satisfies DoesNotExist and nothing else.

// places are the communities that a row scope reaches.
type places struct {
	// names of those whose present division lies under the scope.
	names []string
	// codes[i] is a division code, present or former, of the community of[i].
	codes, of []string
}

// post is where somebody is on duty; an empty grid is every grid of the community.
type post struct{ community, grid string }

// rosterEntry names a person in the roster, in any of the roles.
type rosterEntry struct {
	organization, person string
	roles                []string
}

// where adds every part that narrows.
func (b selectBuilder) where() error {
	for _, part := range []func() error{b.divisions, b.communities, b.grids, b.compounds, b.onDuty, b.requirements, b.consent} {
		if err := part(); err != nil {
			return err
		}
	}
	return nil
}

func (b selectBuilder) divisions() error {
	if b.s.dataset.Source.DivisionColumn == "" {
		return nil
	}
	return b.among(b.s.dataset.Source.DivisionColumn, "divisionColumn", b.s.codes)
}

func (b selectBuilder) communities() error {
	if b.s.dataset.Source.CommunityColumn == "" {
		return nil
	}
	return b.among(b.s.dataset.Source.CommunityColumn, "communityColumn", b.s.places.names)
}

func (b selectBuilder) grids() error {
	if len(b.s.rows.Grids) == 0 {
		return nil
	}
	return b.among(b.s.dataset.Source.GridColumn, "gridColumn", b.s.rows.Grids)
}

// among keeps rows whose column has one of the values.
func (b selectBuilder) among(name, of string, values []string) error {
	column, err := b.text(name, of)
	switch {
	case err != nil:
		return err
	case b.s.table.types[name] == "bpchar": // as a code of 12 digits may stand; its own type, so that its index serves
		b.Where("t." + quote(name) + " = ANY((" + b.texts(values) + ")::bpchar[])")
	default:
		b.Where(column + " = ANY(" + b.texts(values) + ")")
	}
	return nil
}

// compounds keeps rows of the pairs of community and compound.
func (b selectBuilder) compounds() error {
	if len(b.s.rows.Compounds) == 0 {
		return nil
	}
	compound, err := b.text(b.s.dataset.Source.CompoundColumn, "compoundColumn")
	if err != nil {
		return err
	}
	place, names, keys, err := b.place()
	if err != nil {
		return err
	}
	var at, in []string
	for _, c := range b.s.rows.Compounds {
		community, name, ok := strings.Cut(c, "/")
		if !ok || community == "" || name == "" {
			return fmt.Errorf("rows.compounds: %q is not <community>/<compound>", c)
		}
		for i := range names {
			if names[i] == community {
				at, in = append(at, keys[i]), append(in, name)
			}
		}
	}
	b.Where("(" + place + ", " + compound + ") IN (SELECT * FROM unnest(" + b.texts(at) + ", " + b.texts(in) + "))")
	return nil
}

// place gives the column that says in which community a row is, and for each community in reach a key that stands there.
func (b selectBuilder) place() (column string, names, keys []string, err error) {
	source := b.s.dataset.Source
	if source.CommunityColumn != "" {
		column, err = b.text(source.CommunityColumn, "communityColumn")
		return column, b.s.places.names, b.s.places.names, err
	}
	column, err = b.text(source.DivisionColumn, "divisionColumn")
	return column, b.s.places.of, b.s.places.codes, err
}

// onDuty keeps rows of where the roster has put the reader.
func (b selectBuilder) onDuty() error {
	if !b.s.rows.Roster {
		return nil
	}
	grid, err := b.text(b.s.dataset.Source.GridColumn, "gridColumn")
	if err != nil {
		return err
	}
	place, names, keys, err := b.place()
	if err != nil {
		return err
	}
	known := " JOIN unnest(" + b.texts(names) + ", " + b.texts(keys) + ") AS k (name, key) ON k.name = r.community"
	on := "k.key = " + place + " AND (r.grid = '' OR r.grid = " + grid + ")"
	if b.s.foreign {
		var at, in []string
		for _, p := range b.s.roster {
			at, in = append(at, p.community), append(in, p.grid)
		}
		b.Where("EXISTS (SELECT 1 FROM unnest(" + b.texts(at) + ", " + b.texts(in) + ") AS r (community, grid)" + known + " WHERE " + on + ")")
		return nil
	}
	who := b.s.reader
	b.Where("EXISTS (SELECT 1 FROM " + quote(contract.DatabaseSchemaPlatform, "roster") + " AS r" + known +
		" WHERE r.organization = " + b.Var(who.organization) + "::text AND r.person = " + b.Var(who.person) + "::text AND r.role = ANY(" + b.texts(who.roles) + ") AND " + on + ")")
	return nil
}

func (b selectBuilder) requirements() error {
	for i, r := range b.s.rows.Requirements {
		condition, err := b.requirement(r)
		if err != nil {
			return fmt.Errorf("rows.requirements[%d]: %w", i, err)
		}
		b.Where(condition)
	}
	for i, r := range b.s.filter {
		condition, err := b.requirement(r)
		if err != nil {
			return filterError{fmt.Sprintf("where[%d]: %v", i, err)}
		}
		b.Where(condition)
	}
	return nil
}

// requirement of rows. Under NotIn a label selector would let NULL pass, but a value that nobody knows is not known to be harmless.
// Values are read as the column's own type has them: '01' is 1 in a column of integers.
func (b selectBuilder) requirement(r contract.Requirement) (string, error) {
	f, ok := b.s.dataset.Fields[r.Field]
	if !ok {
		return "", fmt.Errorf("the dataset has no field %q", r.Field)
	}
	column, err := b.column(f.Column, r.Field)
	if err != nil {
		return "", err
	}
	switch wants, n := valuesOf[r.Operator], len(r.Values); {
	case wants == "":
		return "", fmt.Errorf("field %q: operator %q is not known: write In, NotIn, Exists, DoesNotExist, AtLeast or AtMost", r.Field, r.Operator)
	case wants == "none" && n > 0, wants == "some" && n == 0, wants == "one" && n != 1:
		return "", fmt.Errorf("field %q: operator %s with %d values: write values with In and NotIn, one with AtLeast and AtMost, none with Exists and DoesNotExist", r.Field, r.Operator, n)
	}
	columnType := b.s.table.types[f.Column]
	values, err := literals(columnType, r.Values, b.s.zone)
	if err != nil {
		return "", fmt.Errorf("field %q: %w", r.Field, err)
	}
	switch r.Operator {
	case "Exists":
		return column + " IS NOT NULL", nil
	case "DoesNotExist":
		return column + " IS NULL", nil
	case "AtLeast":
		return b.bound(column, columnType, " >= ", values[0], r.Field)
	case "AtMost":
		return b.bound(column, columnType, " <= ", values[0], r.Field)
	}
	column, array := b.comparable(column, columnType), b.array(columnType, values)
	if r.Operator == "In" {
		return column + " = ANY(" + array + ")", nil
	}
	return column + " <> ALL(" + array + ")", nil
}

// valuesOf says how many values an operator takes.
var valuesOf = map[string]string{"In": "some", "NotIn": "some", "AtLeast": "one", "AtMost": "one", "Exists": "none", "DoesNotExist": "none"}

// bound compares numbers, dates and times. PostgreSQL sorts NaN above every number; it is at least nothing here.
func (b selectBuilder) bound(column, columnType, operator, value, field string) (string, error) {
	if !ordered(columnType) {
		return "", fmt.Errorf("field %q: AtLeast and AtMost compare numbers, dates and times; the column is %s", field, columnType)
	}
	condition := column + operator + "(" + b.Var(value) + "::text)::" + columnType
	if mayBeNaN(columnType) {
		condition += " AND " + column + " <> 'NaN'"
	}
	return condition, nil
}

// consent keeps rows whose subject has given a consent, for the purpose, that is neither withdrawn nor over: of the dataset's scope, and
// of the agreement's. Of a foreign source it is looked up afterwards; see foreign.go.
func (b selectBuilder) consent() error {
	for _, scope := range b.s.consents() {
		name := b.s.dataset.Source.SubjectColumn
		if name == "" {
			return fmt.Errorf("consentScope %q needs source.subjectColumn", scope)
		}
		column, err := b.text(name, "subjectColumn")
		if err != nil {
			return err
		}
		if b.s.foreign {
			continue
		}
		given := sqlbuilder.PostgreSQL.NewSelectBuilder()
		given.Select("1").From(quote(contract.DatabaseSchemaGrid, "consents")+" AS c").Where(
			"c.subject = "+column, given.Equal("c.scope", scope), given.Var(b.s.purpose)+"::text = ANY(c.purposes)", "c.given_at <= now()",
			"(c.withdrawn_at IS NULL OR c.withdrawn_at > now())", "(c.expires_at IS NULL OR c.expires_at > now())")
		b.Where(b.Exists(given))
	}
	return nil
}

// consents lists the scopes that each subject must have consented to.
func (s selection) consents() (scopes []string) {
	if s.dataset.ConsentScope != "" {
		scopes = append(scopes, s.dataset.ConsentScope)
	}
	if s.consentScope != "" && s.consentScope != s.dataset.ConsentScope {
		scopes = append(scopes, s.consentScope)
	}
	return scopes
}

// text gives a column to compare with texts; the cast of one that is text already would keep its index from being used.
func (b selectBuilder) text(name, of string) (string, error) {
	if name == "" {
		return "", fmt.Errorf("the dataset has no %s, by which rows are limited", of)
	}
	column, err := b.column(name, of)
	if err != nil || isText(b.s.table.types[name]) {
		return column, err
	}
	return column + "::text", nil
}

func (b selectBuilder) texts(values []string) string { return b.Var(notNil(values)) + "::text[]" }
