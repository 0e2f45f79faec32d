package vault

import (
	"crypto"
	"crypto/x509"
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/dizuo/dizuo/internal/contract"
	"github.com/dizuo/dizuo/internal/node/person"
)

// resident signs for a resident, as the terminal of a committee does.
func (w *world) resident(organization, subject string) string {
	w.t.Helper()
	c := w.certs[organization]
	token, err := person.Sign(c.PrivateKey.(crypto.Signer), []*x509.Certificate{c.Leaf}, organization, subject, RoleResident, contract.PersonAudience("dizuo-henan", "henan", contract.RoleVault), time.Now(), time.Minute)
	if err != nil {
		w.t.Fatal(err)
	}
	return token
}

// TestGuardianAlone: with a token of their own and no officer, residents read who read of them and of those whom they speak for, while they
// do, and of nobody else; a child that came of age reads for itself, and what the mother agreed to holds no longer.
func TestGuardianAlone(t *testing.T) {
	w := newWorld(t)
	mother, stranger := w.person("mother"), w.person("stranger")
	child := w.person("child", Guardian{Subject: mother, Kind: "Parent"})
	w.line(1, "decision", "r1", time.Now(), contract.LogBody{Input: &contract.DecisionInput{Consumer: "health", Dataset: "elder-visits"}})
	w.line(2, "release", "r1", time.Now(), contract.LogBody{Rows: 1}, w.logName(child))
	read := func(token, subject string, want int) (got Access) {
		t.Helper()
		w.send(token, http.MethodGet, "/v1/subjects/"+subject+"/access?reason=GuardianRequest", nil, want, &got)
		return got
	}
	health := func(a Access) (n int) {
		for _, r := range a.Reads {
			if r.Organization == "health" {
				n++
			}
		}
		return n
	}
	if got := read(w.resident("committee", mother), child, 200); health(got) != 1 {
		t.Errorf("the mother reads %+v", got)
	}
	if got := read(w.resident("committee", mother), mother, 200); health(got) != 0 {
		t.Errorf("the mother reads of herself %+v", got)
	}
	read(w.resident("committee", stranger), child, 404)
	read(w.resident("committee", child), mother, 404) // the relation has a direction
	read(w.resident("committee", "nobody"), child, 404)
	read(w.resident("east", mother), child, 404)
	read(w.resident("property", mother), child, 403)
	for path, in := range map[string]any{
		"/v1/subjects/" + child + "/erase":   map[string]string{"reason": "GuardianRequest"},
		"/v1/subjects/" + child + "/correct": map[string]any{"dataset": "elder-visits", "fields": []string{"phone"}, "statement": "x", "reason": "GuardianRequest"},
		"/v1/subjects/lookup":                map[string]string{"source": "resident-id", "key": "child", "reason": "GuardianRequest"},
		"/v1/consents":                       map[string]any{"subject": child, "scope": "care", "purposes": []string{"HomeVisits"}, "evidence": "f"},
	} {
		w.send(w.resident("committee", mother), http.MethodPost, path, in, 403, nil)
	}
	var bodies string
	if err := w.sql("", "SELECT string_agg(convert_from(body, 'UTF8'), ' ') FROM audit.lines WHERE instance = 'vault'", nil, &bodies); err != nil || strings.Contains(bodies, mother) || !strings.Contains(bodies, w.logName(mother)) {
		t.Errorf("a resident's id stands in the log, or no name does: %v", err)
	}

	give := func(expires *time.Time) (c Consent) {
		w.call("committee/ConsentRecorder", http.MethodPost, "/v1/consents", map[string]any{"subject": child, "scope": "care", "purposes": []string{"HomeVisits"}, "evidence": "f", "guardian": mother, "expiresAt": expires}, 200, &c)
		return c
	}
	if c := give(nil); c.ExpiresAt != nil {
		t.Errorf("expires %v", c.ExpiresAt)
	}
	ofAge := time.Now().Add(time.Hour).UTC().Truncate(time.Microsecond)
	w.person("child", Guardian{Subject: mother, Kind: "Parent", Until: &ofAge})
	later := ofAge.Add(time.Hour)
	if c := give(&later); c.ExpiresAt == nil || !c.ExpiresAt.Equal(ofAge) {
		t.Errorf("a consent outlives the guardian's say: %v", c.ExpiresAt)
	}
	var open int
	if err := w.sql("", "SELECT count(*) FROM grid.consents WHERE subject = $1 AND expires_at IS DISTINCT FROM $2", []any{child, ofAge}, &open); err != nil || open != 0 {
		t.Errorf("%d consents end at another time, %v", open, err)
	}
	read(w.resident("committee", mother), child, 200)

	// The child comes of age.
	w.person("child", Guardian{Subject: mother, Kind: "Parent", Until: new(time.Now())})
	read(w.resident("committee", mother), child, 404)
	if got := read(w.resident("committee", child), child, 200); health(got) != 1 {
		t.Errorf("of age, the child reads %+v", got)
	}
	w.call("committee/PrivacyOfficer", http.MethodGet, "/v1/subjects/"+child+"/access?reason=GuardianRequest", nil, 422, nil)
	w.call("committee/PrivacyOfficer", http.MethodPost, "/v1/subjects/"+child+"/erase", map[string]string{"reason": "GuardianRequest"}, 422, nil)
	w.call("committee/ConsentRecorder", http.MethodPost, "/v1/consents", map[string]any{"subject": child, "scope": "care", "purposes": []string{"HomeVisits"}, "evidence": "g", "guardian": mother}, 422, nil)
	var found json.RawMessage
	w.call("committee/PrivacyOfficer", http.MethodPost, "/v1/subjects/lookup", map[string]any{"source": "resident-id", "key": "mother", "reason": "SubjectRequest"}, 200, &found)
	if strings.Contains(string(found), child) {
		t.Errorf("lookup %s", found)
	}
	if err := w.sql("", "SELECT count(*) FROM grid.consents WHERE subject = $1 AND expires_at > now()", []any{child}, &open); err != nil || open != 0 {
		t.Errorf("%d consents of the mother hold still, %v", open, err)
	}
	w.verifyChain()
}
