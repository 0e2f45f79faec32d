package gateway

import (
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/huandu/go-sqlbuilder"
	"github.com/jackc/pgx/v5"

	"github.com/dizuo/dizuo/internal/contract"
)

// This file turns a decision into one SELECT. It is pure. What it promises:
//   - identifiers come from the dataset document only, quoted; every value is a parameter;
//   - rows outside the decision's scope, rows without consent and raw values of masked fields do not leave the database;
//   - what it does not understand is an error, never a wider query.

// Masks of contract.Mask.
const (
	maskNone       = ""
	maskPseudonym  = "Pseudonym"
	maskKeepLast   = "KeepLast"
	maskGeneralise = "Generalise"
	maskDrop       = "Drop"
)

// tableInfo is what the database says of a source table.
type tableInfo struct {
	// types by column, as format_type gives them.
	types map[string]string
	// key lists the primary key's columns in order; empty if the table has none.
	key []string
}

// selection is a decision with all that its query needs.
type selection struct {
	dataset contract.Dataset
	table   tableInfo
	fields  map[string]contract.Mask
	rows    contract.Rows
	// codes are the division codes that rows may carry.
	codes []string
	// places are the communities in reach, by name.
	places places
	// reader is for whom rows are looked up in the roster.
	reader rosterEntry
	// filter narrows further, by the consumer's own will.
	filter []contract.Requirement
	// consentScope of the agreement, beside the dataset's own, and the purpose that a consent must cover.
	consentScope, purpose string
	// zone is the IANA name of the zone in which times are rounded.
	zone string
	// maskKey makes pseudonyms under this agreement, subjectKey those of the decision log; orderKey mixes records whose key is hidden.
	maskKey, subjectKey, orderKey []byte
	// foreign is a database of somebody else's: no key but orderKey goes there, and the tables of the platform are not there. roster then
	// lists where the reader is on duty.
	foreign bool
	roster  []post
	// persons of a foreign source who consent; of a table alone, where consent is asked for. See aggregate_foreign.go.
	persons *persons
	limit   int
	after   *position
}

// position is where a page ended.
type position struct {
	// Key holds the order columns of the last row, as text.
	Key []string `json:"k"`
	// Seen counts the rows with this key that were given already. It is 0 under a primary key.
	Seen int `json:"s,omitempty"`
}

// statement is a query with its arguments. Its columns: the fields as JSON text, the subject, the order key.
type statement struct {
	sql    string
	args   []any
	fields []string
	// names are the fields as JSON text with the colon behind, and hashed those that come as they are, for the gateway to make pseudonyms of.
	names  []string
	hashed []bool
	keys   int
}

// selectBuilder collects the parts of one statement.
type selectBuilder struct {
	*sqlbuilder.SelectBuilder
	s selection
}

// build writes the statement of a selection.
func build(s selection) (statement, error) {
	b := selectBuilder{sqlbuilder.PostgreSQL.NewSelectBuilder(), s}
	out := statement{fields: leaving(s.fields)}
	var columns []string
	for _, name := range out.fields {
		expression, err := b.field(name)
		if err != nil {
			return statement{}, err
		}
		columns = append(columns, expression)
		key, _ := json.Marshal(name) // a string always marshals
		out.names = append(out.names, string(key)+":")
		out.hashed = append(out.hashed, s.foreign && s.fields[name].Method == maskPseudonym)
	}
	subject, err := b.subject()
	if err != nil {
		return statement{}, err
	}
	keys, types := b.order()
	out.keys = len(keys)
	columns = append(columns, subject)
	for _, k := range keys {
		columns = append(columns, k+"::text")
	}
	b.Select(columns...).From(quote(s.dataset.Source.Schema, s.dataset.Source.Table) + " AS t")
	if err := b.where(); err != nil {
		return statement{}, err
	}
	if err := b.page(keys, types); err != nil {
		return statement{}, err
	}
	out.sql, out.args = b.Build()
	return out, nil
}

// subject gives the pseudonym of the row's subject for the decision log, or of a foreign source the provider's own key of the person.
func (b selectBuilder) subject() (string, error) {
	name := b.s.dataset.Source.SubjectColumn
	if name == "" {
		return "NULL::text", nil
	}
	column, err := b.column(name, "subjectColumn")
	if err != nil || b.s.foreign {
		return column + "::text", err
	}
	return b.hmac(column+"::text", b.s.subjectKey), nil
}

// field gives the masked value of a field as JSON text.
func (b selectBuilder) field(name string) (string, error) {
	f, ok := b.s.dataset.Fields[name]
	if !ok {
		return "", fmt.Errorf("the dataset has no field %q", name)
	}
	column, err := b.column(f.Column, name)
	if err != nil {
		return "", err
	}
	mask := b.s.fields[name]
	if b.s.foreign && mask.Method == maskPseudonym {
		return column + "::text", nil // the gateway makes it: the key stays at home
	}
	value, err := b.mask(column, b.s.table.types[f.Column], mask)
	if err != nil {
		return "", fmt.Errorf("field %q: %w", name, err)
	}
	return "to_json(" + value + ")::text", nil
}

func (b selectBuilder) mask(column, columnType string, m contract.Mask) (string, error) {
	switch m.Method {
	case maskNone:
		return column, nil
	case maskPseudonym:
		if b.s.foreign {
			return "", errors.New("mask Pseudonym is not made in a database of the provider's own: no key goes there")
		}
		return b.hmac(column+"::text", b.s.maskKey), nil
	case maskKeepLast:
		return b.keepLast(column+"::text", m.Keep)
	case maskGeneralise:
		return b.generalise(column, columnType, m.To)
	}
	return "", fmt.Errorf("mask %q is not known: write Pseudonym, KeepLast, Generalise or Drop", m.Method)
}

// keepLast keeps the last characters and puts a star for each other. A value that is not longer than what is kept becomes
// all stars: else short values would pass unmasked.
func (b selectBuilder) keepLast(text string, keep int) (string, error) {
	if keep < 0 {
		return "", fmt.Errorf("mask KeepLast: keep is %d, write 0 or more", keep)
	}
	n := b.Var(keep) + "::int"
	return "CASE WHEN length(" + text + ") > " + n + " THEN repeat('*', length(" + text + ") - " + n + ") || right(" + text + ", " + n +
		") ELSE repeat('*', length(" + text + ")) END", nil
}

var width = regexp.MustCompile(`^(0|[1-9][0-9]{0,17})(\.[0-9]{1,9})?$`)

// formats of to_char by granularity.
var formats = map[string]string{"Year": "YYYY", "Quarter": `YYYY-"Q"Q`, "Month": "YYYY-MM", "Day": "YYYY-MM-DD", "Hour": `YYYY-MM-DD"T"HH24`}

// generalise rounds a time down to year, quarter, month, day or hour in the platform's zone, or a number down to a multiple.
func (b selectBuilder) generalise(column, columnType, to string) (string, error) {
	if format, ok := formats[to]; ok {
		switch {
		case columnType == "timestamp with time zone":
			return "to_char(" + column + " AT TIME ZONE " + b.Var(b.s.zone) + "::text, '" + format + "')", nil
		case columnType == "timestamp without time zone", columnType == "date" && to != "Hour":
			return "to_char(" + column + ", '" + format + "')", nil
		}
		return "", fmt.Errorf("mask Generalise to %s needs a column that holds such times, this one is %s", to, columnType)
	}
	if !width.MatchString(to) || strings.Trim(to, "0.") == "" {
		return "", fmt.Errorf("mask Generalise to %q: write Year, Quarter, Month, Day, Hour or a positive number", to)
	}
	if !slices.Contains(numbers, columnType) {
		return "", fmt.Errorf("mask Generalise to %s needs a column that holds numbers, this one is %s", to, columnType)
	}
	w := b.Var(to) + "::numeric"
	return "floor(" + column + "::numeric / " + w + ") * " + w, nil
}

// hmac computes HMAC-SHA-256 (RFC 2104) inside the database, so that the raw value does not leave it, and without
// pgcrypto: sha256() is built in. The database is given the two padded keys of this agreement, never the platform's key.
func (b selectBuilder) hmac(text string, key []byte) string {
	inner, outer := hmacPads(key)
	return "encode(substring(sha256(" + b.Var(outer) + "::bytea || sha256(" + b.Var(inner) + "::bytea || convert_to(" + text +
		", 'UTF8'))) from 1 for " + fmt.Sprint(pseudonymBytes) + "), 'hex')"
}

// rowHash tells rows apart that have no key: equal rows are alike, so counting those that were given is enough to go on between them.
const rowHash = `encode(sha256(convert_to(t::text, 'UTF8')), 'hex') COLLATE "C"`

// order gives the expressions that pages are ordered by, and their types: the primary key of a table; else the dataset's keyColumn, where
// there is one, and a hash of the whole row. By the hash alone every page sorts all rows in scope. A row that changes between two pages
// may then be missed or come twice: give the table a primary key. A key that the answer does not tell is ordered by its HMAC, for which no
// index serves: else the rank of a record would tell about where its value lies. The key of the HMAC opens nothing else, so a
// provider's database may have it.
func (b selectBuilder) order() (expressions, types []string) {
	names := b.s.table.key
	if len(names) == 0 && b.s.table.types[b.s.dataset.Source.KeyColumn] != "" {
		names = []string{b.s.dataset.Source.KeyColumn}
	}
	for _, name := range names {
		if b.hidden(name) {
			expressions, types = append(expressions, b.hmac("t."+quote(name)+"::text", b.s.orderKey)+` COLLATE "C"`), append(types, "text")
			continue
		}
		expressions = append(expressions, "t."+quote(name))
		types = append(types, sqlbuilder.Escape(b.s.table.types[name]))
	}
	if len(b.s.table.key) == 0 {
		expressions, types = append(expressions, rowHash), append(types, "text")
	}
	return expressions, types
}

// hidden says whether the answer gives no field of a column as it is. What no field names is hidden, too, but for the platform's own
// tables, whose keys are numbers of cases and names of devices.
func (b selectBuilder) hidden(column string) bool {
	_, ours := platformTables[b.s.dataset.Source.Type]
	hidden := !ours
	for name, f := range b.s.dataset.Fields {
		if f.Column != column {
			continue
		}
		if mask, given := b.s.fields[name]; given && mask.Method == maskNone {
			return false
		}
		hidden = true
	}
	return hidden
}

// page adds order, beginning and size. One row more than the limit is read, to know whether there is a next page.
func (b selectBuilder) page(keys, types []string) error {
	b.OrderBy(keys...).Limit(b.s.limit + 1)
	if b.s.after == nil {
		return nil
	}
	if len(b.s.after.Key) != len(keys) {
		return errCursor
	}
	var values []string
	for i, v := range b.s.after.Key {
		values = append(values, "("+b.Var(v)+"::text)::"+types[i])
	}
	operator := " > "
	if len(b.s.table.key) == 0 {
		operator = " >= "
		b.Offset(b.s.after.Seen)
	}
	b.Where("(" + strings.Join(keys, ", ") + ")" + operator + "(" + strings.Join(values, ", ") + ")")
	return nil
}

// column gives the quoted column of the source table, which must exist.
func (b selectBuilder) column(name, of string) (string, error) {
	if _, ok := b.s.table.types[name]; !ok {
		return "", fmt.Errorf("%s: table %s.%s has no column %q", of, b.s.dataset.Source.Schema, b.s.dataset.Source.Table, name)
	}
	return "t." + quote(name), nil
}

// quote makes an identifier of the parts, safe in a format of the SQL builder, which reads $ as its own.
func quote(parts ...string) string { return sqlbuilder.Escape(pgx.Identifier(parts).Sanitize()) }

func notNil(list []string) []string {
	if list == nil {
		return []string{}
	}
	return list
}
