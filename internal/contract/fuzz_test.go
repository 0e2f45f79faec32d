package contract_test

import (
	"strings"
	"testing"

	"github.com/dizuo/dizuo/internal/contract"
)

// FuzzParseDeviceSubject: what is read names one device whose own subject this is, so nobody speaks in another's name by a
// subject that reads two ways.
func FuzzParseDeviceSubject(f *testing.F) {
	for _, seed := range []string{
		"dizuo.v1.d.smoke.D1.signal", "$MQTT.msgs.dizuo.v1.d.smoke.D1.telemetry", "$MQTT.msgs.$MQTT.msgs.dizuo.v1.d.a.b.ack", "dizuo.v1.c.smoke.D1.signal",
		"dizuo.v1.d.smoke.*.signal", "dizuo.v1.d.smoke.>", "dizuo.v1.d..D1.signal", "dizuo.v1.d.smoke.D1.", "", "dizuo.v1.d.SMOKE.D1.signal",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, subject string) {
		fleet, device, channel, err := contract.ParseDeviceSubject(subject)
		if err != nil {
			return
		}
		if !contract.ValidFleet(fleet) || !contract.ValidDevice(device) {
			t.Fatalf("%q gives fleet %q, device %q", subject, fleet, device)
		}
		if again := contract.DeviceSubject(fleet, device, channel); again != strings.TrimPrefix(subject, contract.IngestPrefix) {
			t.Fatalf("%q is read as %q", subject, again)
		}
	})
}

// FuzzParseDeviceURI: a certificate's URI names at most one device, of one platform, and is written in one way only.
func FuzzParseDeviceURI(f *testing.F) {
	for _, seed := range []string{
		"spiffe://smoke.henan.dizuo.internal/D1", "spiffe://smoke.other.dizuo.internal/D1", "spiffe://a.smoke.henan.dizuo.internal/D1", "spiffe://henan.dizuo.internal/role/operator",
		"spiffe://smoke.henan.dizuo.internal/D1?x", "spiffe://smoke.henan.dizuo.internal/%44", "spiffe://SMOKE.henan.dizuo.internal/D1", "spiffe://spiffe://smoke.henan.dizuo.internal/D1",
		"spiffe://u@smoke.henan.dizuo.internal/D1", "spiffe://smoke.henan.dizuo.internal:1/D1", "", "spiffe://.henan.dizuo.internal/D1",
	} {
		f.Add("henan", seed)
	}
	f.Fuzz(func(t *testing.T, platform, uri string) {
		fleet, device, err := contract.ParseDeviceURI(platform, uri)
		if err != nil {
			return
		}
		if !contract.ValidFleet(fleet) || !contract.ValidDevice(device) {
			t.Fatalf("%q gives fleet %q, device %q", uri, fleet, device)
		}
		if again := contract.DeviceURI(platform, fleet, device); again != uri {
			t.Fatalf("%q is read as %q", uri, again)
		}
		if id := contract.DeviceID(fleet, device); mustID(t, id) != id {
			t.Fatalf("device id %q does not come back", id)
		}
	})
}

func mustID(t *testing.T, id string) string {
	t.Helper()
	fleet, device, err := contract.ParseDeviceID(id)
	if err != nil {
		t.Fatal(err)
	}
	return contract.DeviceID(fleet, device)
}

// FuzzParsePlatformSubject: what is read names one fleet whose own subject this is, and never a device's.
func FuzzParsePlatformSubject(f *testing.F) {
	for _, seed := range []string{
		"dizuo.v1.p.smoke.up", "$MQTT.msgs.dizuo.v1.p.smoke.up", "$MQTT.msgs.$MQTT.msgs.dizuo.v1.p.a.up", "dizuo.v1.d.smoke.up", "dizuo.v1.p.*.up",
		"dizuo.v1.p.smoke.>", "dizuo.v1.p..up", "dizuo.v1.p.smoke.", "", "dizuo.v1.p.SMOKE.up", "dizuo.v1.p.smoke.up.more",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, subject string) {
		fleet, channel, err := contract.ParsePlatformSubject(subject)
		if err != nil {
			return
		}
		if !contract.ValidFleet(fleet) {
			t.Fatalf("%q gives fleet %q", subject, fleet)
		}
		if again := contract.PlatformSubject(fleet, channel); again != strings.TrimPrefix(subject, contract.IngestPrefix) {
			t.Fatalf("%q is read as %q", subject, again)
		}
		if _, _, _, err := contract.ParseDeviceSubject(subject); err == nil {
			t.Fatalf("%q is a device's subject, too", subject)
		}
	})
}
