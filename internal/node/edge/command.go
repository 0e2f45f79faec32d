package edge

import (
	"encoding/json"
	"slices"

	"github.com/google/uuid"
	"github.com/nats-io/nats.go"

	"github.com/dizuo/dizuo/internal/contract"
)

// pass hands what the hub says to a device on to it. The hub checked it against the device's profile; it is sent again until the device
// acknowledges, so nothing is kept here but what the node's own scenarios have to know.
func (n *node) pass(m *nats.Msg) {
	subject := m.Header.Get(contract.EdgeSubjectHeader)
	fleet, device, channel, err := contract.ParseDeviceSubject(subject)
	b := n.in.Current()
	if err != nil || b == nil || !slices.Contains(contract.DownChannels(), channel) || subject != contract.DeviceSubject(fleet, device, channel) {
		return
	}
	if _, here := b.Credentials[fleet].Devices[device]; !here {
		return
	}
	// After its lease a node opens nothing new to anyone.
	if err := n.auth.Live(); err != nil {
		n.log.Warn("command not passed on", "fleet", fleet, "err", err)
		return
	}
	var message struct {
		ID uuid.UUID `json:"id"`
	}
	_ = json.Unmarshal(m.Data, &message) // what bears no id is none of ours
	if !n.scenarios.Passes(fleet, device, channel, m.Data, message.ID) {
		n.log.Info("command not passed on: this node has ended it", "fleet", fleet, "id", message.ID)
		return
	}
	if err := n.broker.Devices.Publish(subject, m.Data); err != nil {
		n.log.Warn("command not passed on; the hub sends it again", "err", err)
	}
}
