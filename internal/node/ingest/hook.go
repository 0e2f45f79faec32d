package ingest

import (
	"context"
	"errors"
	"log/slog"
	"net"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/status"

	"github.com/dizuo/dizuo/internal/contract"
	"github.com/dizuo/dizuo/internal/node/ingest/exhook"
	"github.com/dizuo/dizuo/internal/node/process"
)

// hookPublish is EMQX's hook that is called before a message is routed and acknowledged.
const hookPublish = "message.publish"

// maxMessage bounds a call in bytes: EMQX takes 64 KiB from a device.
const maxMessage = 256 << 10

// hook answers EMQX's ExHook calls.
type hook struct {
	exhook.UnimplementedHookProviderServer
	store   func(context.Context, message) error
	log     *slog.Logger
	metrics *metrics
}

// serve answers EMQX, and nobody else, until ctx ends.
func (h *hook) serve(ctx context.Context, c contract.IngestHook, platform string) error {
	tlsConfig, err := process.MutualTLS(c.TLS, contract.RoleURI(platform, contract.UserEMQX), "this platform's EMQX")
	if err != nil {
		return err
	}
	lis, err := (&net.ListenConfig{}).Listen(ctx, "tcp", c.Address)
	if err != nil {
		return err
	}
	s := grpc.NewServer(grpc.Creds(credentials.NewTLS(tlsConfig)), grpc.MaxRecvMsgSize(maxMessage))
	exhook.RegisterHookProviderServer(s, h)
	stop := context.AfterFunc(ctx, s.GracefulStop)
	defer stop()
	if err := s.Serve(lis); err != nil {
		return err
	}
	return ctx.Err()
}

// OnProviderLoaded asks for what devices publish, and for nothing else: commands never come back this way.
func (h *hook) OnProviderLoaded(_ context.Context, r *exhook.ProviderLoadedRequest) (*exhook.LoadedResponse, error) {
	h.log.Info("EMQX calls for every message of a device", "node", r.GetMeta().GetNode())
	return &exhook.LoadedResponse{Hooks: []*exhook.HookSpec{{Name: hookPublish, Topics: upTopics()}}}, nil
}

// OnProviderUnloaded says that a node of EMQX calls no more.
func (h *hook) OnProviderUnloaded(_ context.Context, r *exhook.ProviderUnloadedRequest) (*exhook.EmptySuccess, error) {
	h.log.Info("EMQX calls no more", "node", r.GetMeta().GetNode())
	return &exhook.EmptySuccess{}, nil
}

// OnMessagePublish stores a message. An answer ends its way in EMQX, which then acknowledges; an error makes EMQX route it to the
// fallback session, and acknowledge.
func (h *hook) OnMessagePublish(ctx context.Context, r *exhook.MessagePublishRequest) (*exhook.ValuedResponse, error) {
	m := r.GetMessage()
	err := h.store(ctx, message{topic: m.GetTopic(), qos: byte(min(m.GetQos(), 1)), payload: m.GetPayload(), id: "emqx:" + m.GetId()})
	var never permanent
	switch {
	case errors.As(err, &never): // nobody may publish there, so nobody is promised anything
		h.metrics.messages.WithLabelValues(viaHook, "refused").Inc()
		h.log.Warn("message of EMQX refused", "err", err)
	case err != nil:
		h.metrics.messages.WithLabelValues(viaHook, "failed").Inc()
		return nil, status.Error(codes.Unavailable, err.Error())
	default:
		h.metrics.messages.WithLabelValues(viaHook, "stored").Inc()
	}
	if m.Headers == nil {
		m.Headers = map[string]string{}
	}
	m.Headers["allow_publish"] = "false"
	return &exhook.ValuedResponse{Type: exhook.ValuedResponse_STOP_AND_RETURN, Message: m}, nil
}

// upTopics are the topic filters of what devices and clouds publish.
func upTopics() []string {
	out := []string{contract.PlatformTopic("+", contract.PlatformUp)}
	for _, c := range contract.UpChannels() {
		out = append(out, contract.DeviceTopic("+", "+", c))
	}
	return out
}
