package gateway

import (
	"reflect"
	"slices"
	"testing"

	"github.com/dizuo/dizuo/internal/contract"
)

// enforced are the parts of a grant and of a source that this gateway enforces, or that limit nothing.
var enforced = []string{
	"uid", "generation", "digest", "relied", "consumerNamespace", "provider", "externalRef", "fields", "purposes", "roles", "personRequired", "caseNumberRequired", "caseNumber", "case", "hours", "breakGlass", "aggregates",
	"noOnward", "retentionSeconds", "notBefore", "notAfter", "requestsPerDay", "recordsPerDay",
	"consentScope", "rows.divisions", "rows.communities", "rows.requirements", "rows.grids", "rows.compounds", "rows.roster",
	"source.type", "source.dsn", "source.communityColumn", "source.schema", "source.table", "source.keyColumn", "source.divisionColumn", "source.gridColumn", "source.compoundColumn", "source.subjectColumn",
}

// A part that is added to the contract is enforced, or makes the gateway refuse.
func TestEveryLimitIsEnforcedOrRefused(t *testing.T) {
	for _, c := range []struct {
		prefix string
		of     func(*contract.Dataset, *contract.Grant) reflect.Value
	}{
		{"", func(_ *contract.Dataset, g *contract.Grant) reflect.Value { return reflect.ValueOf(g).Elem() }},
		{"rows.", func(_ *contract.Dataset, g *contract.Grant) reflect.Value { return reflect.ValueOf(&g.Rows).Elem() }},
		{"source.", func(d *contract.Dataset, _ *contract.Grant) reflect.Value { return reflect.ValueOf(&d.Source).Elem() }},
	} {
		of := c.of(&contract.Dataset{}, &contract.Grant{}).Type()
		for i := range of.NumField() {
			name := c.prefix + jsonName(of.Field(i))
			if name == "rows" {
				continue
			}
			var d contract.Dataset
			var g contract.Grant
			c.of(&d, &g).Field(i).Set(something(of.Field(i).Type))
			want := []string{name}
			if slices.Contains(enforced, name) {
				want = []string{}
			}
			if got := unserved(d, g); !slices.Equal(got, want) {
				t.Errorf("%s set: unserved gives %q, want %q", name, got, want)
			}
		}
	}
}

func jsonName(f reflect.StructField) string {
	name := f.Tag.Get("json")
	for i := range name {
		if name[i] == ',' {
			return name[:i]
		}
	}
	return name
}

// something gives a value that is not the zero value.
func something(t reflect.Type) reflect.Value {
	switch t.Kind() {
	case reflect.Pointer:
		return reflect.New(t.Elem())
	case reflect.Slice:
		return reflect.MakeSlice(t, 1, 1)
	case reflect.Map:
		return reflect.MakeMap(t)
	case reflect.Bool:
		return reflect.ValueOf(true).Convert(t)
	case reflect.String:
		return reflect.ValueOf("x").Convert(t)
	}
	return reflect.ValueOf(1).Convert(t)
}
