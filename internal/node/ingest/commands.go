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
	for _, subject := range downSubjects() {
		sub, err := nc.QueueSubscribe(subject, string(contract.RoleIngest), func(m *nats.Msg) {
			if topic, ok := downTopic(m.Subject); ok {
				publish(topic, m.Data)
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

func downSubjects() []string {
	out := []string{contract.PlatformSubject("*", contract.PlatformDown)}
	for _, c := range contract.DownChannels() {
		out = append(out, contract.DeviceSubject("*", "*", c))
	}
	return out
}

// downTopic gives the topic of what goes down to a device, or to the cloud that speaks for it.
func downTopic(subject string) (string, bool) {
	if fleet, channel, err := contract.ParsePlatformSubject(subject); err == nil {
		return contract.PlatformTopic(fleet, channel), true
	}
	fleet, device, channel, err := contract.ParseDeviceSubject(subject)
	return contract.DeviceTopic(fleet, device, channel), err == nil
}
