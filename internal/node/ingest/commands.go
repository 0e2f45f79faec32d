package ingest

import (
	"context"
	"fmt"

	"github.com/nats-io/nats.go"

	"github.com/dizuo/dizuo/internal/contract"
)

// commands carries what goes down from NATS to EMQX, at QoS 0 as devices subscribe to it: a command is sent again until the device
// acknowledges it, so one that finds no connection is not lost. The instances share the work.
func commands(ctx context.Context, nc *nats.Conn, publish func(topic string, payload []byte)) error {
	for _, c := range contract.DownChannels() {
		sub, err := nc.QueueSubscribe(contract.DeviceSubject("*", "*", c), string(contract.RoleIngest), func(m *nats.Msg) {
			if fleet, device, channel, err := contract.ParseDeviceSubject(m.Subject); err == nil {
				publish(contract.DeviceTopic(fleet, device, channel), m.Data)
			}
		})
		if err != nil {
			return fmt.Errorf("commands: %w", err)
		}
		defer sub.Unsubscribe() //nolint:errcheck // the connection may be gone, and the subscription with it
	}
	<-ctx.Done()
	return ctx.Err()
}
