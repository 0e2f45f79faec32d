package gateway

import "testing"

// What a resident is shown by the vault opens nothing here: no agreement names the role.
func TestResidentsReadNothingHere(t *testing.T) {
	w := newWorld(t)
	if r := w.get("town", w.token("town", "Resident"), "elders", "purpose=HomeVisits"); r.status != 403 {
		t.Errorf("%d %.300s", r.status, r.raw)
	}
}
