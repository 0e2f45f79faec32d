package auth

import (
	"crypto/x509"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/dizuo/dizuo/internal/contract"
)

// organization is a client with the certificate of an identity of an organisation, by a CA.
func (w *world) organization(by ca, name, identity string) device {
	cert := by.client(w.t, contract.OrganizationURI(platform, "county", name, identity))
	return device{clientID: contract.OrganizationClientID(name, identity), cert: &cert}
}

// takes is an organisation that takes cases over MQTT with one identity.
func takes(name string, delivery string) contract.Organization {
	return contract.Organization{Type: "Fire", Delivery: delivery, URIs: []string{contract.OrganizationURI(platform, "county", name, "desk")}}
}

// TestAnOrganisationHearsItsCasesOverMQTT takes the whole way: TLS, auth callout, topics, and the end of the right.
func TestAnOrganisationHearsItsCasesOverMQTT(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.organizations = map[string]contract.Organization{"fire": takes("fire", contract.DeliveryMQTT), "police": takes("police", contract.DeliveryMQTT), "health": takes("health", "")}
	w.start()
	desk := w.organization(w.ca, "fire", "desk")
	s := w.connect(desk)
	for n, tc := range []struct {
		topic string
		qos   byte
		want  byte
	}{
		{"dizuo/v1/o/police/cases", 0, 0x80}, {"dizuo/v1/o/+/cases", 0, 0x80}, {"dizuo/v1/o/fire/#", 0, 0x80}, {"dizuo/v1/o/fire/acks", 0, 0x80}, {"dizuo/v1/d/smoke/s1/signal", 0, 0x80},
		{"dizuo/v1/d/smoke/s1/cmd", 0, 0x80}, {"#", 0, 0x80}, {"dizuo/v1/o/fire/cases", 1, 0x80}, {"dizuo/v1/o/fire/cases", 0, 0},
	} {
		if code, err := s.subscribe(tc.topic, tc.qos, uint16(n+1)); err != nil || code != tc.want {
			t.Errorf("subscribe to %s at QoS %d: %x, %v; want %x", tc.topic, tc.qos, code, err, tc.want)
		}
	}
	grid, violations := w.watched(contract.UserGrid)
	acks := must(grid.SubscribeSync(contract.OrganizationSubject("*", contract.OrganizationAcks)))(t)
	if err := errors.Join(grid.Publish(contract.OrganizationSubject("fire", contract.OrganizationCases), []byte("case")), grid.Flush()); err != nil {
		t.Fatal(err)
	}
	kind, body, err := s.read()
	if topic := "dizuo/v1/o/fire/cases"; err != nil || kind != 0x30 || string(body[2:]) != topic+"case" {
		t.Fatalf("packet %x %q, %v", kind, body, err)
	}
	if err := s.publish("dizuo/v1/o/fire/acks", "ack", 7); err != nil {
		t.Fatal(err)
	}
	if m, err := acks.NextMsg(10 * time.Second); err != nil || m.Subject != "dizuo.v1.o.fire.acks" || string(m.Data) != "ack" {
		t.Fatalf("ack: %v, %v", m, err)
	}
	none(t, contract.UserGrid, violations)
	if err := errors.Join(s.send(0x30, append(field("dizuo/v1/o/police/acks"), "forged"...)), s.send(0x30, append(field("dizuo/v1/d/smoke/s1/signal"), "forged"...))); err != nil {
		t.Fatal(err)
	}
	_ = s.alive() // what the broker refuses it may also cut for
	if m, err := acks.NextMsg(200 * time.Millisecond); !errors.Is(err, nats.ErrTimeout) {
		t.Errorf("another organisation's ack came through: %v, %v", m, err)
	}

	wrongID, named := desk, desk
	wrongID.clientID, named.username, named.password = contract.ClientID("smoke", "s1"), "smoke.s1", "x"
	two := w.organization(w.ca, "fire", "second")
	for what, d := range map[string]device{"its client id is a device's": wrongID, "a user name beside": named, "an identity that it has not": two,
		"no delivery over MQTT": w.organization(w.ca, "health", "desk"), "no such organisation": w.organization(w.ca, "water", "desk"),
		"a fleet's CA": w.organization(w.cas["smoke"], "fire", "desk"), "a role of the platform": {clientID: "x", cert: ptr(w.ca.client(t, contract.RoleURI(platform, contract.UserGrid)))}} {
		if s, err := w.dial(w.broker.MQTTAddress(), d); err == nil {
			_ = s.conn.Close()
			t.Errorf("%s: let in", what)
		}
	}

	s = w.connect(w.organization(w.ca, "police", "desk"))
	delete(w.organizations, "police")
	w.publish()
	if err := s.alive(); err == nil {
		t.Error("an organisation that takes no cases over MQTT any more stays connected")
	}
	if s, err := w.dial(w.broker.MQTTAddress(), w.organization(w.ca, "police", "desk")); err == nil {
		_ = s.conn.Close()
		t.Error("it came in again")
	}
	w.connect(desk)
}

func ptr[T any](v T) *T { return &v }

// TestWhichOrganisationsComeIn is about the registry alone.
func TestWhichOrganisationsComeIn(t *testing.T) {
	root, other := newCA(t, "platform"), newCA(t, "other")
	registry := func(all map[string]contract.Organization, ca string) *Registry {
		r, problems := NewRegistry(platform, map[string]contract.Credentials{"f": {Method: "X509", Devices: map[string]contract.Credential{"d": {ClientID: "organization/bound/desk"}}}})
		if problems = append(problems, r.takeOrganizations(all, ca)...); len(problems) > 0 {
			t.Fatal(problems)
		}
		return r
	}
	twice := takes("also", contract.DeliveryMQTT) // it comes before "one": the later must not win
	twice.URIs = append(twice.URIs, contract.OrganizationURI(platform, "county", "one", "desk"))
	all := map[string]contract.Organization{"fire": takes("fire", contract.DeliveryMQTT), "one": takes("one", contract.DeliveryMQTT), "also": twice, "bound": takes("bound", contract.DeliveryMQTT)}
	r := registry(all, root.pem)
	w := &world{t: t}
	ask := func(r *Registry, d device, devicesOnly bool) (Identity, *Refusal) {
		return r.Identify(Request{Type: "mqtt", ClientID: d.clientID, Chain: []*x509.Certificate{d.cert.Leaf}, DevicesOnly: devicesOnly}, time.Now(), nil)
	}
	id, no := ask(r, w.organization(root, "fire", "desk"), false)
	if no != nil || id.Organization != "fire" {
		t.Fatalf("%+v, %v", id, no)
	}
	under := func(clientID string) device {
		d := w.organization(root, "fire", "desk")
		d.clientID = clientID
		return d
	}
	for what, tc := range map[string]struct {
		r       *Registry
		d       device
		devices bool
		want    Reason
	}{
		"a client id of another identity":     {r, under(contract.OrganizationClientID("fire", "second")), false, ReasonWrongClientID}, // all of these are free
		"a client id of another organisation": {r, under(contract.OrganizationClientID("police", "desk")), false, ReasonWrongClientID},
		"a client id that is nobody's":        {r, under("x"), false, ReasonWrongClientID},
		"no client id":                        {r, under(""), false, ReasonWrongClientID},
		"claimed by two":                      {r, w.organization(root, "one", "desk"), false, ReasonNoOrganization},
		"another CA":                          {r, w.organization(other, "fire", "desk"), false, ReasonBadIssuer},
		"client id bound by a row":            {r, w.organization(root, "bound", "desk"), false, ReasonClientIDTaken},
		"over EMQX":                           {r, w.organization(root, "fire", "desk"), true, ReasonNoOrganization},
		"at an edge node":                     {registry(all, ""), w.organization(root, "fire", "desk"), false, ReasonNoOrganization},
	} {
		if id, no := ask(tc.r, tc.d, tc.devices); no == nil || no.Reason != tc.want {
			t.Errorf("%s: %+v, %v; want %s", what, id, no, tc.want)
		}
	}
	gone := map[string]contract.Organization{"one": all["one"]}
	changed := map[string]contract.Organization{"fire": takes("fire", "")}
	for what, tc := range map[string]struct {
		next  *Registry
		stays bool
	}{"same": {registry(all, root.pem), true}, "gone": {registry(gone, root.pem), false}, "webhook": {registry(changed, root.pem), false}, "another CA": {registry(all, other.pem), false}} {
		if got := tc.next.Stays(id.User(), id.ClientID); got != tc.stays {
			t.Errorf("%s: stays %v, want %v", what, got, tc.stays)
		}
		if got := Revokes(r, tc.next); got == tc.stays {
			t.Errorf("%s: revokes %v", what, got)
		}
		if tc.next.Stays(id.User(), "organization/fire/other") {
			t.Errorf("%s: stays under another client id", what)
		}
	}
	if got := fmt.Sprint(Permissions(id).Pub.Allow, Permissions(id).Sub.Allow); got != "[dizuo.v1.o.fire.acks] [dizuo.v1.o.fire.cases]" {
		t.Errorf("permissions %s", got)
	}
}
