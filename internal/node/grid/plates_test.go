package grid

import (
	"net/http"
	"net/url"
	"testing"
	"time"

	"github.com/dizuo/dizuo/internal/contract"
	"github.com/dizuo/dizuo/internal/node/command"
	"github.com/dizuo/dizuo/internal/node/intake"
)

// TestAnExpectedPlateOpensTheBarrier: the barrier of the compound opens for a plate that an office said is expected there, once for a message that comes
// twice, and for no other plate, place or time.
func TestAnExpectedPlateOpensTheBarrier(t *testing.T) {
	t.Parallel()
	o := newOrders(t, func(b *intake.Bundle) {
		b.Rules.Profiles["gate"] = contract.Profile{HeartbeatSeconds: 3600, Fields: map[string]contract.Field{"plate": {Type: "String"}, "direction": {Type: "String"}},
			Commands: map[string]contract.Command{"openOnce": {Senders: []string{"Scenario"}, ExpiresSeconds: 15, Arguments: map[string]contract.Field{"seconds": {Type: "Integer", Min: ptr(5), Max: ptr(30)}}}}}
		b.Fleets["gates"] = contract.Fleet{Vendor: "vendor", Profile: "gate", AccessMode: "Device", Devices: map[string]contract.Device{
			"here": {Community: "jinghu", Grid: "g1", Compound: "garden"}, "there": {Community: "jinghu", Grid: "g1", Compound: "court"}}}
		b.Rules.Scenarios["s32"] = contract.Scenario{Profile: "gate", DataClass: "C1", Trigger: contract.Trigger{When: "msg.direction == 'in' && msg.plate in context.visitorPlates", DedupSeconds: 3},
			Commands: []contract.ScenarioCommand{{Command: "openOnce", At: "Raised", Target: "Device", Profile: "gate", Arguments: map[string]any{"seconds": 10.0}}}}
	})
	const plate = "豫A00001"
	reads := func(gate, id, plate, direction string) {
		t.Helper()
		client := mqttClient(t, o.broker, contract.ClientID("gates", gate))
		wait(t, client.Publish(contract.DeviceTopic("gates", gate, contract.ChannelSignal), 1, false, `{"id":"`+id+`","plate":"`+plate+`","direction":"`+direction+`"}`))
		client.Disconnect(100)
		o.worked()
	}
	fact := "/v1/facts/Compound/jinghu%2Fgarden/visitorPlates/" + url.PathEscape(plate)
	until := time.Now().Add(24 * time.Hour)
	if got := o.call(http.MethodPut, fact, o.boss(), FactBody{Until: &until}, nil); got != 200 {
		t.Fatal(got)
	}
	o.known()
	reads("here", "r1", plate, "out")
	reads("here", "r2", "豫A00002", "in")
	reads("there", "r3", plate, "in")
	reads("here", "r4", plate, "in")
	reads("here", "r4", plate, "in")
	opened := o.next("openOnce")
	if opened.Subject != contract.DeviceSubject("gates", "here", contract.ChannelCommand) || opened.Command != "openOnce" {
		t.Errorf("%+v", opened)
	}
	if got := o.call(http.MethodDelete, fact, o.boss(), nil, nil); got != 200 {
		t.Fatal(got)
	}
	o.known()
	reads("here", "r5", plate, "in")
	if n := number(t, o.pool, "SELECT count(*) FROM grid.commands WHERE sender = $1", command.SenderScenario); n != 1 {
		t.Errorf("%d commands, want 1", n)
	}
	if n := number(t, o.pool, "SELECT count(*) FROM grid.cases"); n != 0 {
		t.Errorf("%d cases", n)
	}
}
