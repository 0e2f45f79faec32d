package ingest

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"sync"
	"time"

	"github.com/cenkalti/backoff/v5"
	mqtt "github.com/eclipse/paho.mqtt.golang"

	"github.com/dizuo/dizuo/internal/contract"
	"github.com/dizuo/dizuo/internal/node/process"
)

const (
	// window is how many messages of QoS 1 EMQX sends before one is confirmed (max_inflight of its zone for roles). As many of QoS 0 are
	// let in beside them, so the connection's reader never waits: a reader that does reads no ping, and loses the connection.
	window = 1000
	// group shares what is routed among the instances of this role.
	group = "$share/ingest/"

	mqttPatience = 10 * time.Second
)

// session is the persistent session in EMQX that takes what was routed because a call failed.
type session struct {
	client  mqtt.Client
	store   func(context.Context, message) error
	log     *slog.Logger
	metrics *metrics

	mu sync.Mutex
	// now is the connection that there is, or that is tried.
	now *connection
	// problem says why it cannot be known that EMQX holds the session; nil when it does.
	problem error
	// made hears of every connection; only the newest counts.
	made chan *connection
}

// connection is one connection of the session. What EMQX sent over one and did not get confirmed it sends again over the next, so
// what waits here ends with it.
type connection struct {
	ctx   context.Context
	end   context.CancelFunc
	queue chan mqtt.Message
	// nonce and taken name its messages: EMQX's packet ids begin with 1 for every session that it makes, and begin again.
	nonce string
	taken int
}

// open prepares the session, for as long as ctx lasts; run connects it.
func (s *session) open(ctx context.Context, c contract.NATSConfig, instance string) error {
	tlsConfig, err := process.ClientTLS(c.TLS)
	if err != nil {
		return err
	}
	s.made, s.problem = make(chan *connection, 1), errors.New("not connected to EMQX")
	s.begin(ctx)
	o := mqtt.NewClientOptions().AddBroker(c.URL).SetClientID(contract.IngestClientID(instance)).SetTLSConfig(tlsConfig).
		SetCleanSession(false).SetResumeSubs(false).SetAutoAckDisabled(true).SetOrderMatters(true).SetKeepAlive(15 * time.Second).
		SetConnectTimeout(mqttPatience).SetConnectRetry(true).SetConnectRetryInterval(time.Second).SetMaxReconnectInterval(2 * time.Second).
		SetDefaultPublishHandler(func(_ mqtt.Client, m mqtt.Message) { s.hear(m) }).
		SetConnectionLostHandler(func(_ mqtt.Client, err error) { s.lose(err) })
	o.SetConnectionAttemptHandler(func(_ *url.URL, present *tls.Config) *tls.Config {
		s.begin(ctx)
		// The files are read again at each attempt: certificates are renewed.
		if fresh, err := process.ClientTLS(c.TLS); err == nil {
			return fresh
		}
		return present
	})
	o.SetOnConnectHandler(func(mqtt.Client) { go s.hold(ctx) })
	s.client = mqtt.NewClient(o)
	return nil
}

// begin makes a new connection the one that counts.
func (s *session) begin(ctx context.Context) {
	ctx, end := context.WithCancel(ctx)
	c := &connection{ctx: ctx, end: end, queue: make(chan mqtt.Message, 2*window), nonce: rand.Text()}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.now != nil {
		s.now.end()
	}
	s.now = c
	select {
	case <-s.made:
	default:
	}
	s.made <- c
}

func (s *session) lose(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.now.end()
	s.problem = fmt.Errorf("connection to EMQX lost: %w", err)
}

// hear keeps a message until it is worked off. It must not wait.
func (s *session) hear(m mqtt.Message) {
	s.mu.Lock()
	c := s.now
	s.mu.Unlock()
	if m.Qos() == 0 && len(c.queue) >= window {
		s.metrics.messages.WithLabelValues(viaSession, "dropped").Inc()
		return
	}
	select {
	case c.queue <- m:
	case <-c.ctx.Done():
	}
}

// Err says why it cannot be known that EMQX holds the session, or nil.
func (s *session) Err() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.problem == nil && !s.client.IsConnectionOpen() {
		return errors.New("connection to EMQX lost")
	}
	return s.problem
}

func (s *session) held(problem error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.problem = problem
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

// run works off what each connection brings, in order, until ctx ends. The session stays in EMQX and fills on.
func (s *session) run(ctx context.Context) error {
	s.log.Info("connecting to EMQX")
	s.client.Connect()
	defer s.client.Disconnect(250)
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case c := <-s.made:
			s.work(c)
		}
	}
}

// work works off a connection until it ends.
func (s *session) work(c *connection) {
	for {
		select {
		case <-c.ctx.Done():
			return
		case m := <-c.queue:
			s.take(c, m)
		}
	}
}

// take stores a message and confirms it. It tries for as long as the connection lasts: what is not confirmed EMQX sends again.
func (s *session) take(c *connection, m mqtt.Message) {
	c.taken++
	in := message{topic: m.Topic(), qos: min(m.Qos(), 1), payload: m.Payload(), id: fmt.Sprintf("session:%s:%d", c.nonce, c.taken)}
	_, err := backoff.Retry(c.ctx, func() (struct{}, error) {
		err := s.store(c.ctx, in)
		var never permanent
		switch {
		case errors.As(err, &never), err != nil && in.qos == 0: // nobody was promised anything
			return struct{}{}, backoff.Permanent(err)
		case err != nil:
			s.metrics.messages.WithLabelValues(viaSession, "failed").Inc()
		}
		return struct{}{}, err
	}, backoff.WithMaxElapsedTime(0), backoff.WithBackOff(pauses()))
	if c.ctx.Err() != nil { // a confirmation would go out over the next connection, for another message
		return
	}
	result := "stored"
	if err != nil {
		result = "refused"
		s.log.Warn("message of EMQX not stored", "err", err)
	}
	s.metrics.messages.WithLabelValues(viaSession, result).Inc()
	m.Ack()
}

func wait(t mqtt.Token) error {
	if !t.WaitTimeout(mqttPatience) {
		return errors.New("EMQX did not answer in time")
	}
	return t.Error()
}
