package ingest

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"time"

	"github.com/cenkalti/backoff/v5"
	mqtt "github.com/eclipse/paho.mqtt.golang"

	"github.com/dizuo/dizuo/internal/contract"
	"github.com/dizuo/dizuo/internal/node/process"
)

const (
	// window is how many messages EMQX sends before one is confirmed (max_inflight of its zone for roles); a channel of that
	// size never keeps the connection's reader waiting.
	window = 1000
	// group shares what is routed among the instances of this role.
	group = "$share/ingest/"

	mqttPatience = 10 * time.Second
)

// session is the persistent session in EMQX that takes what was routed because a call failed.
type session struct {
	client mqtt.Client
	queue  chan mqtt.Message
	store  func(context.Context, message) error
	log    *slog.Logger
	// held hears nil when the session is there and the fault when it cannot be known to be.
	held    func(error)
	metrics *metrics
}

// open prepares the session, for as long as ctx lasts; run connects it.
func open(ctx context.Context, c contract.NATSConfig, instance string, s *session) error {
	tlsConfig, err := process.ClientTLS(c.TLS)
	if err != nil {
		return err
	}
	s.queue = make(chan mqtt.Message, window)
	s.held(errors.New("not connected to EMQX"))
	o := mqtt.NewClientOptions().AddBroker(c.URL).SetClientID(contract.IngestClientID(instance)).SetTLSConfig(tlsConfig).
		SetCleanSession(false).SetResumeSubs(false).SetAutoAckDisabled(true).SetOrderMatters(true).SetKeepAlive(15 * time.Second).
		SetConnectTimeout(mqttPatience).SetConnectRetry(true).SetConnectRetryInterval(time.Second).SetMaxReconnectInterval(2 * time.Second).
		SetDefaultPublishHandler(func(_ mqtt.Client, m mqtt.Message) { s.queue <- m }).
		SetConnectionLostHandler(func(_ mqtt.Client, err error) { s.held(fmt.Errorf("connection to EMQX lost: %w", err)) })
	// The files are read again at each attempt: certificates are renewed.
	o.SetConnectionAttemptHandler(func(_ *url.URL, present *tls.Config) *tls.Config {
		if fresh, err := process.ClientTLS(c.TLS); err == nil {
			return fresh
		}
		return present
	})
	o.SetOnConnectHandler(func(mqtt.Client) { go s.hold(ctx) })
	s.client = mqtt.NewClient(o)
	return nil
}

// hold subscribes until EMQX has granted it, or the connection is another. A session that EMQX kept has its subscriptions already,
// and may have sent messages by now.
func (s *session) hold(ctx context.Context) {
	_, err := backoff.Retry(ctx, func() (struct{}, error) {
		if !s.client.IsConnectionOpen() {
			return struct{}{}, backoff.Permanent(errors.New("connection lost"))
		}
		err := subscribe(s.client)
		if err != nil {
			s.held(err)
			s.log.Warn("no fallback session in EMQX", "err", err)
		}
		return struct{}{}, err
	}, backoff.WithMaxElapsedTime(0), backoff.WithBackOff(pauses()))
	if err == nil {
		s.held(nil)
		s.log.Info("fallback session held in EMQX")
	}
}

func subscribe(client mqtt.Client) error {
	filters := map[string]byte{}
	for _, t := range upTopics() {
		filters[group+t] = 1
	}
	token := client.SubscribeMultiple(filters, nil)
	if err := wait(token); err != nil {
		return err
	}
	if sub, ok := token.(*mqtt.SubscribeToken); ok {
		for filter, granted := range sub.Result() {
			if granted != 1 {
				return fmt.Errorf("EMQX refused the subscription %s (%#x)", filter, granted)
			}
		}
	}
	return nil
}

// pauses are those between two attempts.
func pauses() *backoff.ExponentialBackOff {
	b := backoff.NewExponentialBackOff()
	b.InitialInterval, b.MaxInterval = 50*time.Millisecond, 2*time.Second
	return b
}

// run works the session off, in order, until ctx ends. The session stays in EMQX and fills on.
func (s *session) run(ctx context.Context) error {
	s.client.Connect()
	defer s.client.Disconnect(250)
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case m := <-s.queue:
			if err := s.take(ctx, m); err != nil {
				return err
			}
		}
	}
}

// take stores a message and confirms it. It tries for as long as ctx lasts: what is not confirmed stays in EMQX.
func (s *session) take(ctx context.Context, m mqtt.Message) error {
	in := message{topic: m.Topic(), qos: min(m.Qos(), 1), payload: m.Payload(), id: fallbackID(m)}
	_, err := backoff.Retry(ctx, func() (struct{}, error) {
		err := s.store(ctx, in)
		var never permanent
		if errors.As(err, &never) {
			return struct{}{}, backoff.Permanent(err)
		}
		if err != nil {
			s.metrics.messages.WithLabelValues(viaSession, "failed").Inc()
		}
		return struct{}{}, err
	}, backoff.WithMaxElapsedTime(0), backoff.WithBackOff(pauses()))
	if ctx.Err() != nil {
		return ctx.Err()
	}
	result := "stored"
	if err != nil {
		result = "refused"
		s.log.Warn("message of EMQX refused", "err", err)
	}
	s.metrics.messages.WithLabelValues(viaSession, result).Inc()
	m.Ack()
	return nil
}

// fallbackID is the same for a message that EMQX sends again because the confirmation was lost: its packet id is the same then.
func fallbackID(m mqtt.Message) string {
	h := sha256.New()
	fmt.Fprintf(h, "%d %q ", m.MessageID(), m.Topic())
	h.Write(m.Payload())
	return "session:" + hex.EncodeToString(h.Sum(nil)[:16])
}

func wait(t mqtt.Token) error {
	if !t.WaitTimeout(mqttPatience) {
		return errors.New("EMQX did not answer in time")
	}
	return t.Error()
}
