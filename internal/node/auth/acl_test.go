package auth

import (
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/jwt/v2"

	"github.com/dizuo/dizuo/internal/contract"
)

// oracle says by its own words what a device may do, without the code under test: split the subject and compare names.
func oracle(fleet, device, subject string, publish bool) bool {
	parts := strings.Split(subject, ".")
	if len(parts) != 6 || parts[0] != "dizuo" || parts[1] != "v1" || parts[2] != "d" || parts[3] != fleet || parts[4] != device {
		return false
	}
	switch parts[5] {
	case "telemetry", "signal", "state", "ack":
		return publish
	case "cmd", "desired":
		return !publish
	}
	return false
}

// matches is NATS's matching of a literal subject or a subscription by an allow list, by brute force.
func matches(list []string, subject string) bool {
	for _, pattern := range list {
		p, s := strings.Split(pattern, "."), strings.Split(subject, ".")
		for i := 0; ; i++ {
			if i == len(p) || i == len(s) {
				if len(p) == len(s) {
					return true
				}
				break
			}
			if p[i] == ">" {
				return true
			}
			if p[i] != "*" && p[i] != s[i] {
				break
			}
		}
	}
	return false
}

var (
	fleetNames   = []string{"a", "b", "a-b", "ab", "d", "v1", "x0"}
	deviceNames  = []string{"1", "01", "a", "A", "a_1", "_", "-", "signal", "cmd", "d"}
	lastLevels   = []string{"telemetry", "signal", "state", "ack", "cmd", "desired", "*", ">", "x", "Signal"}
	otherLevels  = []string{"dizuo", "v1", "d", "c", "*", ">", "$MQTT", "msgs", "$KV", "v2"}
	randomTokens = append(append(append([]string{}, fleetNames...), deviceNames...), append(lastLevels, otherLevels...)...)
)

// randomSubject is near what devices use: half of the time under the device's own names, often with one level wrong.
func randomSubject(r *rand.Rand, fleet, device string) string {
	pick := func(from []string) string { return from[r.IntN(len(from))] }
	parts := []string{"dizuo", "v1", "d", fleet, device, pick(lastLevels)}
	if r.IntN(2) == 0 {
		parts[3], parts[4] = pick(fleetNames), pick(deviceNames)
	}
	switch r.IntN(4) {
	case 0: // as it is: often right
	case 1:
		parts[r.IntN(len(parts))] = pick(randomTokens)
	case 2:
		parts = parts[:1+r.IntN(len(parts))]
	case 3:
		parts = append(parts, pick(randomTokens))
	}
	return strings.Join(parts, ".")
}

func TestPermissionsAgainstOracle(t *testing.T) {
	r := rand.New(rand.NewPCG(20240806, 1))
	var allowed, checked int
	each := 4000
	if testing.Short() {
		each = 500
	}
	for _, fleet := range fleetNames {
		for _, device := range deviceNames {
			p := Permissions(Identity{Prefixes: []Prefix{{fleet, device}}})
			for range each {
				subject := randomSubject(r, fleet, device)
				for _, publish := range []bool{true, false} {
					list, deny := p.Sub.Allow, p.Sub.Deny
					if publish {
						list, deny = p.Pub.Allow, p.Pub.Deny
					}
					got, want := matches(list, subject) && !matches(deny, subject), oracle(fleet, device, subject, publish)
					if got != want {
						t.Fatalf("%s.%s publish=%v %s: %v, the oracle says %v", fleet, device, publish, subject, got, want)
					}
					checked++
					if got {
						allowed++
					}
				}
			}
		}
	}
	if allowed < checked/50 {
		t.Errorf("only %d of %d were allowed: the test does not reach both sides", allowed, checked)
	}
	t.Logf("%d decisions, %d allowed", checked, allowed)
}

// TestBrokerAgainstOracle asks the running broker the same for a sample: what is stored and what may be subscribed to.
func TestBrokerAgainstOracle(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for _, fleet := range []string{"a", "a-b", "d"} {
		devices := map[string]contract.Credential{}
		for _, d := range deviceNames {
			devices[d] = contract.Credential{PasswordHash: w.creds["door"].Devices["d1"].PasswordHash}
		}
		w.creds[fleet] = contract.Credentials{Method: "Password", Devices: devices}
	}
	w.start()
	r := rand.New(rand.NewPCG(7, 7))
	stored := map[string]string{} // what the oracle lets in, by subject
	tried := map[string]bool{}
	for _, fleet := range []string{"a", "a-b", "d"} {
		for _, name := range deviceNames[:6] {
			s := w.connect(withPassword(fleet, name, door1))
			for i := range 60 {
				subject := randomSubject(r, fleet, name)
				topic := strings.ReplaceAll(subject, ".", "/")
				if !strings.ContainsAny(subject, "*>") {
					payload := fleet + "." + name
					if err := s.publish(topic, payload, uint16(i+1)); err != nil {
						t.Fatal(err)
					}
					tried[subject] = true
					if oracle(fleet, name, subject, true) {
						stored[subject] = payload
					}
				}
				filter := strings.NewReplacer("*", "+", ">", "#").Replace(topic)
				if n := strings.Index(filter, "#"); n >= 0 && n != len(filter)-1 {
					continue // not a filter
				}
				code, err := s.subscribe(filter, 0, uint16(1000+i))
				if err != nil {
					t.Fatal(err)
				}
				if got, want := code == 0, oracle(fleet, name, subject, false); got != want {
					t.Errorf("%s.%s subscribes to %s: %v, the oracle says %v", fleet, name, subject, got, want)
				}
			}
		}
	}
	for subject := range tried {
		if got := w.stored(subject); got != stored[subject] {
			t.Errorf("%s: the ingest log holds %q, the oracle %q", subject, got, stored[subject])
		}
	}
	t.Logf("%d subjects published to, %d stored", len(tried), len(stored))
}

func TestClaims(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	id := Identity{Fleet: "f", Device: "d", Stamp: "s", Prefixes: []Prefix{{"f", "d"}}}
	early, late := Claims(id, "U", now, 0.999), Claims(id, "U", now, 0)
	if got := late.Expires - now.Unix(); got != 24*3600 {
		t.Errorf("longest life %d s", got)
	}
	if got := early.Expires - now.Unix(); got < 18*3600 || got > 18*3600+120 {
		t.Errorf("shortest life %d s, want 18 h", got)
	}
	if len(late.AllowedConnectionTypes) != 1 || late.AllowedConnectionTypes[0] != jwt.ConnectionTypeMqtt {
		t.Errorf("connection types %v", late.AllowedConnectionTypes)
	}
	if late.Audience != contract.AccountDevices || late.Name != "f.d/s" {
		t.Errorf("account %q name %q", late.Audience, late.Name)
	}
	if p := Permissions(Identity{}); !matches(p.Pub.Deny, "dizuo.v1.d.f.d.signal") || !matches(p.Sub.Deny, "x") {
		t.Errorf("no prefix gives %+v, want nothing allowed", p)
	}
	two := Permissions(Identity{Prefixes: []Prefix{{"f", "gw"}, {"g", "child"}}})
	if !matches(two.Pub.Allow, "dizuo.v1.d.g.child.signal") || matches(two.Pub.Allow, "dizuo.v1.d.g.gw.signal") {
		t.Errorf("two prefixes give %v", two.Pub.Allow)
	}
}
