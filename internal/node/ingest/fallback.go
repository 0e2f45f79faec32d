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

// open prepares the session; run connects it.
func open(c contract.NATSConfig, instance string, s *session) error {
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
	o.SetOnConnectHandler(func(client mqtt.Client) { go s.subscribe(client) })
	s.client = mqtt.NewClient(o)
	return nil
}

// subscribe takes up the subscriptions; a session that EMQX kept has them already.
func (s *session) subscribe(client mqtt.Client) {
	filters := map[string]byte{}
	for _, t := range upTopics() {
		filters[group+t] = 1
	}
	token := client.SubscribeMultiple(filters, nil)
	err := wait(token)
	if sub, ok := token.(*mqtt.SubscribeToken); ok && err == nil {
		for filter, granted := range sub.Result() {
			if granted != 1 {
				err = fmt.Errorf("EMQX refused the subscription %s (%#x)", filter, granted)
			}
		}
	}
	if err != nil {
		s.held(err)
		s.log.Warn("no fallback session in EMQX", "err", err)
		client.Disconnect(0)
		return
	}
	s.held(nil)
	s.log.Info("fallback session held in EMQX")
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
	}, backoff.WithMaxElapsedTime(0), backoff.WithBackOff(&backoff.ExponentialBackOff{InitialInterval: 100 * time.Millisecond, RandomizationFactor: 0.5, Multiplier: 2, MaxInterval: 5 * time.Second}))
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
