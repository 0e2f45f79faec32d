package auth

import (
	"slices"
	"testing"

	"github.com/dizuo/dizuo/internal/contract"
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

func TestStaysAndRevokesAgree(t *testing.T) {
	base := func() map[string]contract.Credentials {
		return map[string]contract.Credentials{"f": {Method: methodPassword, Devices: map[string]contract.Credential{"d": {PasswordHash: "h1"}}}}
	}
	old, _ := NewRegistry(platform, base())
	user := Identity{Fleet: "f", Device: "d", Stamp: old.stamp("f", "d", noIssuer)}.User()
	for name, tc := range map[string]struct {
		change func(map[string]contract.Credentials)
		stays  bool
	}{
		"nothing":          {func(map[string]contract.Credentials) {}, true},
		"device added":     {func(c map[string]contract.Credentials) { c["f"].Devices["e"] = contract.Credential{} }, true},
		"fleet added":      {func(c map[string]contract.Credentials) { c["g"] = contract.Credentials{} }, true},
		"password changed": {func(c map[string]contract.Credentials) { c["f"].Devices["d"] = contract.Credential{PasswordHash: "h2"} }, false},
		"client id changed": {func(c map[string]contract.Credentials) {
			c["f"].Devices["d"] = contract.Credential{PasswordHash: "h1", ClientID: "x"}
		}, false},
		"device removed": {func(c map[string]contract.Credentials) { delete(c["f"].Devices, "d") }, false},
		"fleet removed":  {func(c map[string]contract.Credentials) { delete(c, "f") }, false},
	} {
		t.Run(name, func(t *testing.T) {
			creds := base()
			tc.change(creds)
			next, _ := NewRegistry(platform, creds)
			if got := next.Stays(user, "f_d"); got != tc.stays {
				t.Errorf("Stays = %v, want %v", got, tc.stays)
			}
			if got := Revokes(old, next); got == tc.stays {
				t.Errorf("Revokes = %v though Stays = %v", got, tc.stays)
			}
			if got := slices.Contains(slices.Collect(Gone(old, next)), "f_d"); got == tc.stays {
				t.Errorf("Gone names it: %v, though Stays = %v", got, tc.stays)
			}
		})
	}
	if !Revokes(nil, old) {
		t.Error("a first registry must sweep: nobody knows who is connected")
	}
	for _, user := range []string{"", "f.d", "f.d/", "f.d/0000000000000000", "x", "/", "f.d/" + old.stamp("f", "d", issuerKey{1})} {
		if old.Stays(user, "f_d") {
			t.Errorf("connection named %q stays", user)
		}
	}
}

func TestBadIssuerKeepsTheOthers(t *testing.T) {
	good := newCA(t, "good")
	r, problems := NewRegistry(platform, map[string]contract.Credentials{"f": {Method: methodX509, Issuers: []string{"rubbish", good.pem}}})
	if len(problems) != 1 || len(r.fleets["f"].issuers) != 1 {
		t.Errorf("problems %v, %d issuers; want one each", problems, len(r.fleets["f"].issuers))
	}
}
