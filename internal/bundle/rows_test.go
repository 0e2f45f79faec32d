package bundle_test

import (
	"fmt"
	"reflect"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/dizuo/dizuo/internal/contract"
	"github.com/dizuo/dizuo/internal/contract/seal"
	"github.com/dizuo/dizuo/test/pki"
)

// hostile is a text that JSON may write in more than one way.
const hostile = "<1号楼> & \"a\\b\" \u2028\u2029 😀"

// filled gives a value with something in every field.
func filled[T any](t *testing.T) (out T) {
	t.Helper()
	v := reflect.ValueOf(&out).Elem()
	for i := range v.NumField() {
		switch f := v.Field(i); f.Kind() {
		case reflect.String:
			f.SetString(hostile)
		case reflect.Int64:
			f.SetInt(1_700_000_000)
		case reflect.Bool:
			f.SetBool(true)
		case reflect.Map:
			f.Set(reflect.ValueOf(map[string]string{hostile: hostile, "A": "", "a": "b"}))
		default:
			t.Fatalf("field %s is of a kind that no test fills", v.Type().Field(i).Name)
		}
	}
	return out
}

// What encoded rows are published as is what their documents would be: the same text, the same digest before and after it was read, and
// a signature that holds.
func TestRowsArePublishedAsTheirDocuments(t *testing.T) {
	p := parts()
	devices := map[string]contract.Device{"all": filled[contract.Device](t), "none": {}, "a_-Z": {Community: "jinghu"}}
	credentials := map[string]contract.Credential{"all": filled[contract.Credential](t), "a_-Z": {}, "unregistered": {Stored: true}}
	fleet, keys := contract.Fleet{Namespace: "vendor", Devices: devices}, contract.Credentials{Method: "Password", Devices: credentials}
	want := map[string]contract.Shard{}
	for _, s := range []contract.Shard{
		{Name: "fleet.smoke", Roots: []string{"dizuo/fleets/smoke"}, Data: map[string]any{"dizuo": map[string]any{"fleets": map[string]any{"smoke": fleet}}}},
		{Name: "credentials.smoke", Roots: []string{"dizuo/credentials/smoke"}, Data: map[string]any{"dizuo": map[string]any{"credentials": map[string]any{"smoke": keys}}}},
	} {
		normal, err := seal.Normalize(s)
		if err != nil {
			t.Fatal(err)
		}
		want[s.Name] = normal
	}
	rows := contract.NewDeviceRows(devices, credentials)
	if d, c, err := rows.Decode(); err != nil || !cmp.Equal(d, devices) || !cmp.Equal(c, credentials) {
		t.Errorf("decoded: %v %v", cmp.Diff(devices, d), err)
	}
	p.Rows["smoke"] = rows
	p.Fleets["smoke"], p.Credentials["smoke"] = contract.Fleet{Namespace: "vendor"}, contract.Credentials{Method: "Password"}
	signer, trust := pki.Sealed(t)
	got := shards(t, p)
	for name, w := range want {
		if text(t, got[name]) != text(t, w) {
			t.Errorf("%s is\n%s\nwant\n%s", name, text(t, got[name]), text(t, w))
		}
		digest, err := w.ContentDigest()
		if err != nil {
			t.Fatal(err)
		}
		raw, err := signer.Shard(got[name])
		if err != nil {
			t.Fatal(err)
		}
		read, err := trust.Shard(raw, contract.ShardRef{Name: name, Digest: digest})
		if err != nil || text(t, read) != text(t, w) {
			t.Errorf("%s was read as %s: %v", name, text(t, read), err)
		}
	}
}

// Rows that differ in anything have another digest.
func TestDigestOfRows(t *testing.T) {
	seen := map[string]int{}
	for i, rows := range []contract.DeviceRows{
		nil, {{Name: "a"}}, {{Name: "b"}}, {{Name: "a", Device: []byte("1")}}, {{Name: "a", Credential: []byte("1")}},
		{{Name: "a", Device: []byte("1"), Credential: []byte("1")}}, {{Name: "a", Device: []byte("1")}, {Name: "b", Device: []byte("1")}}, {{Name: "a1"}},
	} {
		if was, ok := seen[rows.Digest()]; ok {
			t.Error(fmt.Sprint(i, " has the digest of ", was))
		}
		seen[rows.Digest()] = i
	}
}
