package cases

import (
	"fmt"

	"github.com/dizuo/dizuo/internal/contract"
	"github.com/dizuo/dizuo/test/stack"
)

// Kinds of devices. Each is a profile, a fleet, a scenario and a class of cases of that name, and says what one kind of signal comes to.
const (
	// smoke: each device speaks once; a case with a time to acknowledge, which nobody does.
	smoke = "smoke"
	// gas: each speaks once; the alarm comes by time, and its case has a time to resolve.
	gas = "gas"
	// water: each speaks once; the case is opened only after the alarm stood for a while.
	water = "water"
	// button: devices repeat themselves, all signals of a building are one case.
	button = "button"
	// door: devices come and go, each coming is an alarm of its own in the one open case of the device.
	door = "door"
)

const (
	// gasHolds and waterStands are the times of their scenarios, allowed that of every time of a case, in seconds.
	gasHolds, waterStands, allowed = 2, 2, 2
	// levels stand above the grid; a time that is missed there too calls nobody further.
	levels = 3
	// buildings of buttons.
	buildings = 10
	// fire is who is sent messages.
	fire = "fire"
)

// scenario gives that of a kind.
func scenario(kind string, severity contract.Severity, term contract.Term, ends string) contract.Scenario {
	return contract.Scenario{Profile: kind, CaseClass: kind, Severity: severity, Title: kind, DataClass: "C0", Terms: []contract.Term{term}, Clear: ends, DedupSeconds: 1,
		Responders: []contract.Responder{{Post: "GridWorker"}, {Duty: fire}}}
}

// world gives what runs, for the devices of a plan; hook takes the webhooks.
func world(p plan, hook string) stack.Options {
	const high, low, on = contract.SeverityHigh, contract.SeverityLow, "msg.on == true"
	pressed := scenario(button, low, contract.Term{When: on}, "")
	pressed.MergeBy, pressed.DedupSeconds = "Building", 86400
	waits := scenario(water, low, contract.Term{When: on}, "")
	waits.AfterSeconds = waterStands
	o := stack.Options{
		Replicas: 2,
		Directory: contract.Directory{
			Platform: contract.Platform{Name: stack.Platform, Namespace: "city", TimeZone: "Asia/Shanghai", SLA: map[contract.Severity]contract.SLA{
				contract.SeverityCritical: {AcknowledgeSeconds: allowed}, high: {ResolveSeconds: allowed}}},
			Communities: map[string]contract.Community{"jinghu": {Division: "410702001001", Posts: []string{"CommunityWorker"}, Grids: []contract.Grid{{Name: "g1", Posts: []string{"GridWorker"}}}}},
			Organizations: map[string]contract.Organization{
				fire: {Type: "Fire", Jurisdiction: []string{"4107"}, Duties: []string{fire}, Events: []string{"CaseDispatched", "CaseOverdue"}, Webhook: &contract.Webhook{URL: hook}},
				// These two stand above the community and are sent nothing.
				"town": {Type: "Township", Jurisdiction: []string{"410702001"}}, "bureau": {Type: "Department", Jurisdiction: []string{"4107"}},
			},
		},
		Rules: contract.Rules{Profiles: map[string]contract.Profile{}, Scenarios: map[string]contract.Scenario{
			smoke: scenario(smoke, contract.SeverityCritical, contract.Term{When: on}, ""), gas: scenario(gas, high, contract.Term{When: on, ForSeconds: gasHolds}, ""),
			water: waits, button: pressed, door: scenario(door, low, contract.Term{When: on}, "msg.on == false"),
		}},
		Fleets: map[string]contract.Fleet{},
	}
	for kind := range o.Rules.Scenarios {
		o.Rules.Profiles[kind] = contract.Profile{HeartbeatSeconds: 3600, Fields: map[string]contract.Field{"on": {Type: "Boolean", Required: true}}}
		o.Fleets[kind] = contract.Fleet{Profile: kind, AccessMode: "Device", Devices: map[string]contract.Device{}}
	}
	for _, d := range p {
		o.Fleets[d.kind].Devices[d.name] = contract.Device{Community: "jinghu", Grid: "g1", Building: d.building}
	}
	return o
}

// device is one of the plan: it speaks so many times, evenly over the time of the test, the first time at a part of the interval.
type device struct {
	kind, name, building string
	times                int
	at                   float64
}

type plan []device

// planFor gives devices that speak so many times together.
func planFor(signals int, random func() float64) (p plan) {
	add := func(kind string, devices, times int) {
		for n := range devices {
			p = append(p, device{kind, fmt.Sprintf("d%05d", n), fmt.Sprint("b", n%buildings), times, random()})
		}
	}
	add(smoke, signals/10, 1)
	add(gas, signals/20, 1)
	add(water, signals/20, 1)
	add(button, 40, signals/100)
	add(door, 40, signals/100)
	return p
}
