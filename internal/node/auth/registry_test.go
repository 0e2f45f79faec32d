package auth

import (
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"net/url"
	"slices"
	"testing"
	"time"

	"github.com/dizuo/dizuo/internal/contract"
	"github.com/dizuo/dizuo/internal/contract/password"
	"github.com/dizuo/dizuo/internal/node/chain"
)

func TestClientIDsHaveOneOwner(t *testing.T) {
	r, problems := NewRegistry(platform, map[string]contract.Credentials{
		"a": {Method: methodPassword, Devices: map[string]contract.Credential{"x": {}, "thief": {ClientID: "b_y"}, "twin": {ClientID: "same"}}},
		"b": {Method: methodPassword, Devices: map[string]contract.Credential{"y": {}, "twin": {ClientID: "same"}, "z": {ClientID: "b_free"}, "self": {ClientID: "b_self"}}},
	})
	for id, want := range map[string]string{
		"a_x": "a.x", "b_y": "b.y", "same": "a.twin", "b_free": "b.z", "b_self": "b.self", "a_thief": "", "b_z": "", "": "", "nobody": "",
	} {
		if got := r.owner(id); got != want {
			t.Errorf("client id %q belongs to %q, want %q", id, got, want)
		}
	}
	if len(problems) != 2 {
		t.Errorf("problems %v, want one for a.thief and one for b.twin", problems)
	}
	for device, ok := range map[[3]string]bool{{"a", "x", "a_x"}: true, {"a", "thief", "b_y"}: false, {"b", "y", "b_y"}: true,
		{"b", "twin", "same"}: false, {"a", "twin", "same"}: true, {"b", "z", "b_free"}: true, {"a", "x", "b_y"}: false} {
		no := r.checkClientID(Identity{Fleet: device[0], Device: device[1]}, device[2])
		if (no == nil) != ok {
			t.Errorf("%v: %v, want allowed %v", device, no, ok)
		}
	}
}

// TestStaysAndRevokesAgree: whoever may not stay is named by Gone and asks for a sweep, and nobody else is.
func TestStaysAndRevokesAgree(t *testing.T) {
	base := func() map[string]contract.Credentials {
		return map[string]contract.Credentials{
			"f": {Method: methodPassword, Devices: map[string]contract.Credential{"d": {PasswordHash: "h1"}}},
			"s": {Method: methodX509, AccessMode: "Gateway", Devices: map[string]contract.Credential{"s1": {Via: "f.d"}}},
			"p": {Method: methodPassword, AccessMode: contract.AccessPlatform, PlatformHash: "h1"},
		}
	}
	row := func(f string, d string, c contract.Credential) func(map[string]contract.Credentials) {
		return func(all map[string]contract.Credentials) { all[f].Devices[d] = c }
	}
	fleet := func(f string, change func(*contract.Credentials)) func(map[string]contract.Credentials) {
		return func(all map[string]contract.Credentials) { c := all[f]; change(&c); all[f] = c }
	}
	old, _ := NewRegistry(platform, base())
	for name, tc := range map[string]struct {
		change func(map[string]contract.Credentials)
		// device and cloud stay.
		device, cloud bool
	}{
		"nothing":            {func(map[string]contract.Credentials) {}, true, true},
		"device added":       {row("f", "e", contract.Credential{}), true, true},
		"fleet added":        {func(c map[string]contract.Credentials) { c["g"] = contract.Credentials{} }, true, true},
		"password changed":   {row("f", "d", contract.Credential{PasswordHash: "h2"}), false, true},
		"password in change": {row("f", "d", contract.Credential{PasswordHash: "h2", PreviousHash: "h1", PreviousUntil: 1}), true, true},
		"client id changed":  {row("f", "d", contract.Credential{PasswordHash: "h1", ClientID: "x"}), false, true},
		"device removed":     {func(c map[string]contract.Credentials) { delete(c["f"].Devices, "d") }, false, true},
		"fleet removed":      {func(c map[string]contract.Credentials) { delete(c, "f") }, false, true},
		"behind a gateway":   {row("f", "d", contract.Credential{Via: "f.e"}), false, true},
		"sensor added":       {row("s", "s2", contract.Credential{Via: "f.d"}), false, true},
		"sensor elsewhere":   {row("s", "s2", contract.Credential{Via: "f.x"}), true, true},
		"sensor removed":     {func(c map[string]contract.Credentials) { delete(c["s"].Devices, "s1") }, false, true},
		"mode changed":       {fleet("f", func(c *contract.Credentials) { c.AccessMode = contract.AccessPlatform }), false, true},
		"cloud's password":   {fleet("p", func(c *contract.Credentials) { c.PlatformHash = "h2" }), true, false},
		"cloud's mode":       {fleet("p", func(c *contract.Credentials) { c.AccessMode = "Device" }), true, false},
		"cloud's devices":    {fleet("p", func(c *contract.Credentials) { c.Devices = map[string]contract.Credential{"x": {}} }), true, true},
	} {
		t.Run(name, func(t *testing.T) {
			creds := base()
			tc.change(creds)
			next, _ := NewRegistry(platform, creds)
			gone := slices.Collect(Gone(old, next))
			for id, want := range map[[2]string]bool{{"f", "d"}: tc.device, {"p", contract.PlatformDevice}: tc.cloud} {
				user := Identity{Fleet: id[0], Device: id[1], Stamp: old.stamp(id[0], id[1], noIssuer, "h1")}.User()
				clientID := contract.ClientID(id[0], id[1])
				if got := next.Stays(user, clientID); got != want {
					t.Errorf("Stays of %v = %v, want %v", id, got, want)
				}
				if slices.Contains(gone, clientID) == want {
					t.Errorf("Gone is %v, though Stays of %v is %v", gone, id, want)
				}
			}
			if got := Revokes(old, next); got != (len(gone) > 0) {
				t.Errorf("Revokes = %v, Gone %v", got, gone)
			}
		})
	}
	if !Revokes(nil, old) {
		t.Error("a first registry must sweep: nobody knows who is connected")
	}
	for _, user := range []string{"", "f.d", "f.d/", "f.d/0000000000000000", "x", "/", "f.d/" + old.stamp("f", "d", chain.Key{1}, "h1"), "s.s1/" + old.stamp("s", "s1", noIssuer, "")} {
		if old.Stays(user, "f_d") {
			t.Errorf("connection named %q stays", user)
		}
	}
}

// TestRotationOfAPassword: the old one is good until its end, to the second, and its connection ends then.
func TestRotationOfAPassword(t *testing.T) {
	fresh, err1 := password.HashGenerated(door1, rand.Reader)
	former, err2 := password.HashGenerated(door2, rand.Reader)
	if err := errors.Join(err1, err2); err != nil {
		t.Fatal(err)
	}
	until := time.Unix(1_800_000_000, 0)
	r, _ := NewRegistry(platform, map[string]contract.Credentials{"f": {Method: methodPassword, Devices: map[string]contract.Credential{
		"d": {PasswordHash: fresh, PreviousHash: former, PreviousUntil: until.Unix()}}}})
	verify := func(h password.Hash, plain string) (bool, bool) { return h.Verify(plain), true }
	for _, tc := range []struct {
		password string
		at       time.Time
		want     Reason
	}{
		{door1, until.Add(-time.Second), ""}, {door2, until.Add(-time.Second), ""}, {"else", until.Add(-time.Second), ReasonBadPassword},
		{door1, until, ""}, {door2, until, ReasonBadPassword}, {door2, until.Add(time.Hour), ReasonBadPassword}, {"", until, ReasonBadPassword},
	} {
		id, no := r.Identify(Request{Type: "mqtt", ClientID: "f_d", Username: "f.d", Password: tc.password}, tc.at, verify)
		var got Reason
		if no != nil {
			got = no.Reason
		}
		if got != tc.want {
			t.Errorf("%s at %s: %q, want %q", tc.password, tc.at, got, tc.want)
		}
		if no == nil && tc.password == door2 {
			if end := expiry(id, tc.at, 0); end != until.Unix() {
				t.Errorf("a connection by the old password ends at %d, want %d", end, until.Unix())
			}
		}
		if no == nil && !r.Stays(id.User(), "f_d") {
			t.Errorf("a connection by %s does not stay", tc.password)
		}
	}
}

// TestVendorCA: which device a certificate of a vendor's own CA is, is said by the rule of the fleet that it asks for, and its CA is worth
// nothing elsewhere.
func TestVendorCA(t *testing.T) {
	vendor, other, ours := newCA(t, "vendor"), newCA(t, "other"), newCA(t, "ours")
	with := func(by ca, serial string, uris ...string) []*x509.Certificate {
		template := x509.Certificate{Subject: pkix.Name{SerialNumber: serial, CommonName: "m1"}, KeyUsage: x509.KeyUsageDigitalSignature,
			ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}
		for _, text := range uris {
			u, err := url.Parse(text)
			if err != nil {
				t.Fatal(err)
			}
			template.URIs = append(template.URIs, u)
		}
		cert, _ := issue(t, &by, template)
		return []*x509.Certificate{cert.Leaf}
	}
	r, problems := NewRegistry(platform, map[string]contract.Credentials{
		"v": {Method: methodX509, Issuers: []string{vendor.pem}, Rule: "cert.subject.serialNumber", Devices: map[string]contract.Credential{"m1": {}, "m2": {ClientID: "IMEI-1"}}},
		"w": {Method: methodX509, Issuers: []string{vendor.pem}, Rule: "cert.subject.serialNumber", Devices: map[string]contract.Credential{"m1": {}}},
		"o": {Method: methodX509, Issuers: []string{ours.pem}, Devices: map[string]contract.Credential{"m1": {}}},
		"b": {Method: methodX509, Issuers: []string{vendor.pem}, Rule: "cert.", Devices: map[string]contract.Credential{"m1": {}}},
	})
	if len(problems) != 1 {
		t.Errorf("problems %v, want one for the rule of b", problems)
	}
	for name, tc := range map[string]struct {
		chain              []*x509.Certificate
		clientID, username string
		want               Reason
	}{
		"by client id":                      {with(vendor, "m1"), "v_m1", "", ""},
		"by a client id that is bound":      {with(vendor, "m2"), "IMEI-1", "", ""},
		"by user name":                      {with(vendor, "m1"), "v_m1", "v.m1", ""},
		"a URI of the vendor's":             {with(vendor, "m1", "urn:dev:m1"), "v_m1", "", ""},
		"a fleet that shares the CA":        {with(vendor, "m1"), "w_m1", "", ""},
		"another device":                    {with(vendor, "m2"), "v_m1", "", ReasonBadRule},
		"another device by user name":       {with(vendor, "m1"), "v_m1", "v.m2", ReasonBadRule},
		"nobody":                            {with(vendor, "m1"), "unheard", "", ReasonBadURI},
		"another CA":                        {with(other, "m1"), "v_m1", "", ReasonBadIssuer},
		"a fleet of ours":                   {with(vendor, "m1"), "o_m1", "", ReasonWrongMethod},
		"a URI of ours, by the vendor":      {with(vendor, "m1", contract.DeviceURI(platform, "o", "m1")), "o_m1", "", ReasonBadIssuer},
		"a URI of ours, for the vendor's":   {with(vendor, "m1", contract.DeviceURI(platform, "v", "m1")), "v_m1", "", ReasonWrongMethod},
		"a URI of ours beside another":      {with(vendor, "m1", "urn:x", contract.DeviceURI(platform, "o", "m1")), "v_m1", "", ReasonBadURI},
		"a role's URI":                      {with(vendor, "m1", contract.RoleURI(platform, "grid")), "v_m1", "", ReasonBadURI},
		"user name and client id differ":    {with(vendor, "m1"), "w_m1", "v.m1", ReasonWrongClientID},
		"no device's name":                  {with(vendor, "m 1"), "v_m1", "", ReasonBadRule},
		"a fleet whose rule is not to read": {with(vendor, "m1"), "b_m1", "", ReasonWrongMethod},
	} {
		t.Run(name, func(t *testing.T) {
			id, no := r.Identify(Request{Type: "mqtt", ClientID: tc.clientID, Username: tc.username, Chain: tc.chain}, time.Now(), nil)
			var got Reason
			if no != nil {
				got = no.Reason
			}
			if got != tc.want {
				t.Errorf("%q, want %q", got, tc.want)
			}
			if no == nil && !r.Stays(id.User(), tc.clientID) {
				t.Error("it does not stay")
			}
		})
	}
}

func TestBadIssuerKeepsTheOthers(t *testing.T) {
	good := newCA(t, "good")
	r, problems := NewRegistry(platform, map[string]contract.Credentials{"f": {Method: methodX509, Issuers: []string{"rubbish", good.pem}}})
	if len(problems) != 1 || len(r.fleets["f"].issuers.Keys) != 1 {
		t.Errorf("problems %v, %d issuers; want one each", problems, len(r.fleets["f"].issuers.Keys))
	}
}
