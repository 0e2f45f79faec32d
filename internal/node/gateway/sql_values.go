package gateway

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/google/uuid"
)

// This file reads values of requirements as the types of columns have them. A value that does not fit is an error here, so that it is
// none of PostgreSQL's in the middle of a query, and so that a column is compared as it stands and its index serves.

var numbers = []string{"smallint", "integer", "bigint", "numeric", "real", "double precision"}

func isText(columnType string) bool { return columnType == "text" || columnType == "character varying" }

func mayBeNaN(columnType string) bool {
	return columnType == "numeric" || columnType == "real" || columnType == "double precision"
}

// ordered says which types AtLeast and AtMost compare.
func ordered(columnType string) bool {
	return slices.Contains(numbers, columnType) || columnType == "date" || strings.HasPrefix(columnType, "timestamp ")
}

// typed are the columns that are compared in their own type; others are compared as text. bpchar is char(n), which ignores blanks at the
// end.
func typed(columnType string) bool {
	return ordered(columnType) || columnType == "boolean" || columnType == "uuid" || columnType == "bpchar"
}

// comparable gives a column for In and NotIn.
func (b selectBuilder) comparable(column, columnType string) string {
	if typed(columnType) || isText(columnType) {
		return column
	}
	return column + "::text"
}

// array gives the values for comparable.
func (b selectBuilder) array(columnType string, values []string) string {
	if !typed(columnType) {
		return b.texts(values)
	}
	return "(" + b.texts(values) + ")::" + columnType + "[]"
}

// literals gives the values as PostgreSQL reads them in a column of a type, or says what is wrong with one.
func literals(columnType string, values []string, zone string) ([]string, error) {
	var out []string
	for _, v := range values {
		text, err := literal(columnType, v, zone)
		if err != nil {
			return nil, err
		}
		out = append(out, text)
	}
	return out, nil
}

var (
	whole   = regexp.MustCompile(`^-?[0-9]{1,19}$`)
	decimal = regexp.MustCompile(`^-?[0-9]{1,30}(\.[0-9]{1,20})?$`)
)

func literal(columnType, value, zone string) (string, error) {
	wrong := func(want string) (string, error) {
		return "", fmt.Errorf("a value does not fit a column of type %s: write %s", columnType, want)
	}
	switch columnType {
	case "smallint", "integer", "bigint":
		bits := map[string]int{"smallint": 16, "integer": 32, "bigint": 64}[columnType]
		if _, err := strconv.ParseInt(value, 10, bits); err != nil || !whole.MatchString(value) {
			return wrong("a whole number within its range")
		}
	case "numeric":
		if !decimal.MatchString(value) {
			return wrong("a number such as 12.5")
		}
	case "real", "double precision":
		bits := map[string]int{"real": 32, "double precision": 64}[columnType]
		if _, err := strconv.ParseFloat(value, bits); err != nil || !decimal.MatchString(value) {
			return wrong("a number such as 12.5")
		}
	case "date":
		if at, err := time.Parse(time.DateOnly, value); err != nil || at.Year() < 1 {
			return wrong("a date such as 2026-01-31")
		}
	case "timestamp with time zone", "timestamp without time zone":
		at, err := time.Parse(time.RFC3339Nano, value)
		if err != nil || at.Nanosecond()%1000 != 0 || at.Year() < 2 || at.Year() > 9998 {
			return wrong("a time such as 2026-01-31T08:00:00+08:00, to the microsecond at most")
		}
		if columnType == "timestamp with time zone" {
			return at.UTC().Format("2006-01-02 15:04:05.999999Z07:00"), nil
		}
		location, err := time.LoadLocation(zone) // a time without a zone is of the platform's
		if err != nil {
			return "", fmt.Errorf("time zone %q: %w", zone, err)
		}
		return at.In(location).Format("2006-01-02 15:04:05.999999"), nil
	case "boolean":
		if value != "true" && value != "false" {
			return wrong("true or false")
		}
	case "uuid":
		if _, err := uuid.Parse(value); err != nil || len(value) != 36 {
			return wrong("a UUID")
		}
	default:
		if strings.ContainsRune(value, 0) || !utf8.ValidString(value) {
			return wrong("text in UTF-8 without the character NUL")
		}
	}
	return value, nil
}
