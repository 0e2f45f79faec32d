package compile

import (
	"encoding/json"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/dizuo/dizuo/internal/contract"
)

// A device that is refused twice in a file is refused once, with a row or without.
func TestBarTakesADeviceOnce(t *testing.T) {
	rows := contract.DeviceRows{{Name: "a", Device: json.RawMessage(`{}`), Credential: plainCredential}, {Name: "b", Device: json.RawMessage(`{}`), Credential: plainCredential}}
	got := bar(rows, []string{"x", "b", "a0", "x", "b"})
	stored := json.RawMessage(`{"stored":true}`)
	want := contract.DeviceRows{{Name: "a", Device: json.RawMessage(`{}`), Credential: plainCredential}, {Name: "a0", Credential: stored},
		{Name: "b", Device: json.RawMessage(`{}`), Credential: stored}, {Name: "x", Credential: stored}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}
