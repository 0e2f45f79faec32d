package story

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/dizuo/dizuo/internal/contract"
)

// enrol registers a device as the vendor would, and makes its key and certificate with the fleet's own CA.
func (t *teller) enrol(ctx context.Context) error {
	row, err := json.Marshal([]map[string]any{{"op": "add", "path": "/spec/inventory/rows/-", "value": map[string]string{
		"device": t.device, "community": community, "grid": "grid-1", "compound": "east", "building": "3号楼", "unit": "1单元"}}})
	if err != nil {
		return err
	}
	began := time.Now()
	as := []string{"--as", "smoke-engineer", "--as-group", smokeSpace}
	if _, err := t.run(ctx, t.Kubectl, append(as, "patch", "devicefleet", "-n", smokeSpace, smokeFleet, "--type", "json", "-p", string(row))...); err != nil {
		return err
	}
	if _, err := t.run(ctx, t.Kubectl, "wait", "--timeout=60s", "--for=condition=Ready", "-n", smokeSpace, "devicefleet/"+smokeFleet); err != nil {
		return err
	}
	t.print.Seen(time.Since(began), "the vendor registered %s in its own namespace; every enforcer that is online knows it", t.device)
	_, err = t.run(ctx, t.Dizuo, "fleet", "enroll", "--secret", smokeSpace+"/smoke-ca", "--fleet", smokeFleet, "--platform", platform,
		"--device", t.device, "--device", holderDevice, "--device", "sd-huaqiangcheng-01", "--out", t.certs())
	if err != nil {
		return err
	}
	t.print.Seen(0, "key and certificate %s, signed by the fleet's own CA", contract.DeviceURI(platform, smokeFleet, t.device))
	data, err := t.secret(ctx, smokeSpace, "smoke-connection")
	if err != nil {
		return err
	}
	return os.WriteFile(t.brokerCA(), data["ca.crt"], 0o644)
}

func (t *teller) certs() string    { return filepath.Join(t.dir, "certs") }
func (t *teller) brokerCA() string { return filepath.Join(t.dir, "broker-ca.crt") }

// forwards opens the ports that the rest of the story uses.
func (t *teller) forwards(ctx context.Context) error {
	for _, f := range []struct {
		to            **Forward
		service, port string
	}{{&t.broker, "dizuo-broker", "8883"}, {&t.grid, "dizuo-grid", "8443"}, {&t.gateway, "dizuo-gateway", "8443"}} {
		forward, err := OpenForward(ctx, t.Kubectl, namespace, f.service, f.port)
		if err != nil {
			return err
		}
		*f.to = forward
		t.show(t.Kubectl, "port-forward", "-n", namespace, "service/"+f.service, forward.Port+":"+f.port)
	}
	return nil
}

// mosquitto gives the arguments of mosquitto_pub with which a device publishes at QoS 1 under a client id.
func (t *teller) mosquitto(device, clientID, topic, payload string) []string {
	dir := filepath.Join(t.certs(), device)
	return []string{"-h", "localhost", "-p", t.broker.Port, "--cafile", t.brokerCA(),
		"--cert", filepath.Join(dir, "tls.crt"), "--key", filepath.Join(dir, "tls.key"), "-i", clientID, "-q", "1", "-t", topic, "-m", payload}
}

// alarm lets the device report smoke, and follows the alarm to the fire brigade.
func (t *teller) alarm(ctx context.Context) error {
	if err := t.forwards(ctx); err != nil {
		return err
	}
	began := time.Now()
	if _, err := t.run(ctx, "mosquitto_pub", t.mosquitto(t.device, contract.ClientID(smokeFleet, t.device),
		contract.DeviceTopic(smokeFleet, t.device, contract.ChannelSignal), `{"smoke":true}`)...); err != nil {
		return err
	}
	t.print.Seen(time.Since(began), "connected with TLS and its own certificate; the message is acknowledged, so it is stored")
	if err := t.caseOpened(ctx, began); err != nil {
		return err
	}
	return t.brigadeTold(ctx, began)
}

type caseView struct {
	ID, Number, State, Device, Community string
}

// cases lists the cases that a person of the committee may see.
func (t *teller) cases(ctx context.Context, subject, role string) ([]caseView, error) {
	out, err := t.quiet(ctx, nil, t.Dizuo, append([]string{"cases", "-o", "json"}, t.committee(subject, role)...)...)
	if err != nil {
		return nil, err
	}
	var list []caseView
	return list, json.Unmarshal([]byte(out), &list)
}

// committee gives the flags by which the committee vouches for one of its people towards the grid service.
func (t *teller) committee(subject, role string) []string {
	return []string{"--server", t.grid.URL(), "--platform", namespace + "/" + platform, "--secret", namespace + "/" + committee + "-grid-tls",
		"--organization", committee, "--subject", subject, "--role", role}
}

func (t *teller) caseOpened(ctx context.Context, began time.Time) error {
	_, err := until(ctx, 30*time.Second, 50*time.Millisecond, func() (bool, string, error) {
		list, err := t.cases(ctx, officeWorker, "CommunityWorker")
		for _, c := range list {
			if c.Device == t.device && c.State == "Dispatched" {
				t.caseID, t.caseNumber = c.ID, c.Number
				return true, "", nil
			}
		}
		return false, fmt.Sprintf("no dispatched case of device %s among %+v", t.device, list), err
	})
	if err != nil {
		return err
	}
	took := time.Since(began)
	out, err := t.run(ctx, t.Dizuo, append([]string{"cases", "show", t.caseNumber}, t.committee(officeWorker, "CommunityWorker")...)...)
	if err != nil {
		return err
	}
	t.print.Output(out, 0)
	for _, state := range []string{"-> Reported", "-> Filed", "-> Dispatched"} {
		if !strings.Contains(out, state) {
			return fmt.Errorf("the history of case %s has no line %q", t.caseNumber, state)
		}
	}
	t.print.Seen(0, "case %s is filed and dispatched", t.caseNumber)
	t.measured("smoke_to_dispatched", took.Seconds(), "s", 5)
	return nil
}

// delivery is what the fire desk says of one webhook call.
type delivery struct {
	Path, Type, Case, Problem string
	Valid                     bool
	Event                     json.RawMessage
}

const fireDesk = "/api/v1/namespaces/henan-partners/services/fire-desk:http/proxy/received"

// brigadeTold checks that the case reached the brigade of its city, with a good signature, and none of another city.
func (t *teller) brigadeTold(ctx context.Context, began time.Time) error {
	t.show(t.Kubectl, "get", "--raw", fireDesk)
	var got []delivery
	_, err := until(ctx, 30*time.Second, 100*time.Millisecond, func() (bool, string, error) {
		out, err := t.quiet(ctx, nil, t.Kubectl, "get", "--raw", fireDesk)
		if err != nil {
			return false, "", err
		}
		var all []delivery
		if err := json.Unmarshal([]byte(out), &all); err != nil {
			return false, "", err
		}
		got = nil
		for _, d := range all {
			if d.Case == t.caseID {
				got = append(got, d)
			}
		}
		return len(got) > 0, "no delivery for case " + t.caseNumber, nil
	})
	if err != nil {
		return err
	}
	took := time.Since(began)
	for _, d := range got {
		if d.Path != "/"+brigade || !d.Valid {
			return fmt.Errorf("case %s was delivered to %s, signature valid: %t %s; want /%s alone, valid", t.caseNumber, d.Path, d.Valid, d.Problem, brigade)
		}
	}
	// What is still to be sent stands in the outbox.
	others, err := t.sql(ctx, "SELECT string_agg(DISTINCT organization, ',') FROM grid.dispatch_outbox WHERE case_id = '"+t.caseID+"'")
	if err != nil {
		return err
	}
	if others != brigade {
		return fmt.Errorf("case %s goes to %q, want %s alone", t.caseNumber, others, brigade)
	}
	t.print.Output(string(got[0].Event), 1)
	t.print.Seen(took, "%s got CloudEvent %s with a valid signature; no other city's brigade did", brigade, got[0].Type)
	return nil
}

// intrude tries to publish as other devices, and to take another device's client id.
func (t *teller) intrude(ctx context.Context) error {
	before, err := t.traces(ctx)
	if err != nil {
		return err
	}
	if t.violated, err = t.violations(ctx); err != nil {
		return err
	}
	own := contract.ClientID(smokeFleet, t.device)
	for topic, payload := range map[string]string{
		contract.DeviceTopic(doorFleet, doorDevice, contract.ChannelSignal):   `{"event":"opened"}`,
		contract.DeviceTopic(smokeFleet, otherDevice, contract.ChannelSignal): `{"smoke":true}`,
	} {
		if _, err := t.run(ctx, "mosquitto_pub", t.mosquitto(t.device, own, topic, payload)...); err != nil {
			t.print.Seen(0, "refused: %v", err)
		}
	}
	if err := t.settled(ctx, own); err != nil {
		return err
	}
	after, err := t.traces(ctx)
	if err != nil {
		return err
	}
	if before != after {
		return fmt.Errorf("a device published as another one: before %s, after %s", before, after)
	}
	t.print.Seen(0, "nothing arrived: %s (MQTT 3.1.1 cannot refuse a message, so it is dropped and counted)", after)
	return t.takeOver(ctx)
}

// traces tells what the platform has of the devices that the intruder speaks for.
func (t *teller) traces(ctx context.Context) (string, error) {
	return t.sql(ctx, fmt.Sprintf(`SELECT 'cases ' || (SELECT count(*) FROM grid.cases WHERE device IN ('%[1]s', '%[2]s')) ||
		', signals ' || (SELECT coalesce(sum(signals), 0) FROM grid.cases WHERE device IN ('%[1]s', '%[2]s')) || ', last seen ' ||
		coalesce((SELECT string_agg(device || ' ' || last_seen, ', ' ORDER BY device) FROM grid.devices_seen WHERE device IN ('%[1]s', '%[2]s')), 'never')`,
		doorDevice, otherDevice))
}

// settled sends a signal of the device's own and waits until its case counts it: all that was stored before it was worked off, too.
func (t *teller) settled(ctx context.Context, clientID string) error {
	count := fmt.Sprintf("SELECT coalesce(sum(signals), 0) FROM grid.cases WHERE device = '%s'", t.device)
	before, err := t.sql(ctx, count)
	if err != nil {
		return err
	}
	if _, err := t.run(ctx, "mosquitto_pub", t.mosquitto(t.device, clientID,
		contract.DeviceTopic(smokeFleet, t.device, contract.ChannelSignal), `{"smoke":true}`)...); err != nil {
		return err
	}
	_, err = until(ctx, 20*time.Second, 50*time.Millisecond, func() (bool, string, error) {
		after, err := t.sql(ctx, count)
		return after != before, "the device's own message was not worked off", err
	})
	return err
}

// takeOver connects with a client id that another device of the fleet holds. On a broker that allowed it, the holder would
// be cut off.
func (t *teller) takeOver(ctx context.Context) error {
	h, err := connect("ssl://localhost:"+t.broker.Port, t.certs(), t.brokerCA(), smokeFleet, holderDevice)
	if err != nil {
		return fmt.Errorf("device %s: %w", holderDevice, err)
	}
	defer h.close()
	code, text, err := t.mustFail(ctx, "mosquitto_pub", t.mosquitto(t.device, contract.ClientID(smokeFleet, holderDevice),
		contract.DeviceTopic(smokeFleet, holderDevice, contract.ChannelSignal), `{"smoke":true}`)...)
	if err != nil {
		return err
	}
	if !strings.Contains(strings.ToLower(text), "not authori") {
		return fmt.Errorf("mosquitto_pub failed with code %d, but not for want of authority: %s", code, text)
	}
	t.print.Output(text, 2)
	if err := errors.Join(h.publish(contract.DeviceTopic(smokeFleet, holderDevice, contract.ChannelTelemetry), `{"battery":88}`), h.holds()); err != nil {
		return fmt.Errorf("device %s, whose client id was tried: %w", holderDevice, err)
	}
	t.print.Seen(0, "the client id of %s is refused to it; that device stays connected and goes on publishing", holderDevice)
	return nil
}
