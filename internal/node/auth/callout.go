package auth

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"runtime"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nkeys"

	"github.com/dizuo/dizuo/internal/contract/password"
	"github.com/dizuo/dizuo/internal/node/chain"
)

const (
	// calloutQueue lets replicas share the requests.
	calloutQueue = "auth"
	// maxInFlight bounds the requests in work; more wait in the subscription.
	maxInFlight = 256
	// maxCostlyWaiting bounds those of them that wait for an argon2id slot.
	maxCostlyWaiting = 64
)

// responder answers the broker's auth callout.
type responder struct {
	key     nkeys.KeyPair
	issuer  string
	enforce *enforcer
	now     func() time.Time
	log     *slog.Logger
	stats   *stats
	// enrolled remembers the devices that no row names.
	enrolled *enrolled

	inFlight chan struct{}
	costly   chan struct{}
	waiting  chan struct{}
	work     sync.WaitGroup
}

func newResponder(seedFile string, e *enforcer, s *stats, log *slog.Logger) (*responder, error) {
	seed, err := os.ReadFile(seedFile)
	if err != nil {
		return nil, fmt.Errorf("auth.calloutSeedFile: %w", err)
	}
	key, err := nkeys.FromSeed([]byte(strings.TrimSpace(string(seed))))
	if err != nil {
		return nil, fmt.Errorf("auth.calloutSeedFile %s: %w; write the seed of an account nkey", seedFile, err)
	}
	issuer, err := key.PublicKey()
	if err != nil || !nkeys.IsValidPublicAccountKey(issuer) {
		return nil, fmt.Errorf("auth.calloutSeedFile %s: not an account key; write the seed of an account nkey (it begins with SA)", seedFile)
	}
	return responderOf(key, issuer, e, s, log), nil
}

func responderOf(key nkeys.KeyPair, issuer string, e *enforcer, s *stats, log *slog.Logger) *responder {
	return &responder{key: key, issuer: issuer, enforce: e, now: time.Now, log: log, stats: s,
		inFlight: make(chan struct{}, maxInFlight),
		// argon2id takes 19 MiB or more and one core each: never more than half of the cores, so certificates keep going.
		costly:  make(chan struct{}, max(1, runtime.GOMAXPROCS(0)/2)),
		waiting: make(chan struct{}, maxCostlyWaiting)}
}

// Serve answers requests that come over nc until ctx ends.
func (r *responder) Serve(ctx context.Context, nc *nats.Conn) error {
	sub, err := nc.QueueSubscribe(server.AuthCalloutSubject, calloutQueue, func(m *nats.Msg) {
		select {
		case r.inFlight <- struct{}{}:
		case <-ctx.Done():
			return
		}
		r.work.Go(func() {
			defer func() { <-r.inFlight }()
			r.handle(ctx, m)
		})
	})
	if err != nil {
		return fmt.Errorf("auth callout: %w", err)
	}
	<-ctx.Done()
	_ = sub.Unsubscribe()
	r.work.Wait()
	return ctx.Err()
}

// handle answers one request. A request that the broker has given up is dropped, which sheds load when a whole city
// connects at once.
func (r *responder) handle(ctx context.Context, m *nats.Msg) {
	began := r.now()
	rc, err := jwt.DecodeAuthorizationRequestClaims(string(m.Data))
	if err != nil {
		r.log.Warn("auth callout: request not readable", "err", err)
		return
	}
	if rc.Expires != 0 && began.Unix() > rc.Expires {
		r.stats.decided("expired", began, r.now())
		return
	}
	ctx, cancel := context.WithDeadline(ctx, time.Unix(rc.Expires, 0))
	defer cancel()
	req, err := request(rc)
	if err != nil {
		r.refuse(m, rc, &Refusal{Reason: ReasonBadRequest})
		return
	}
	id, no := r.decide(ctx, req, func(id Identity) error { return r.admit(m, rc, id) })
	if no != nil {
		r.refuse(m, rc, no)
		r.stats.decided("refused", began, r.now())
		return
	}
	r.log.Debug("device admitted", "fleet", id.Fleet, "device", id.Device)
	r.stats.decided("admitted", began, r.now())
}

// decide identifies and, if a device may come in, answers before a newer registry can take over: after the switch no
// answer that rests on the old registry is still on its way.
func (r *responder) decide(ctx context.Context, req Request, admit func(Identity) error) (Identity, *Refusal) {
	verify := func(h password.Hash, plain string) (bool, bool) { return r.verify(ctx, h, plain) }
	for {
		registry, again, err := r.enforce.door(r.now())
		if err != nil {
			return Identity{}, &Refusal{Reason: ReasonNoBundle}
		}
		id, no := registry.Identify(req, r.now(), verify)
		if no != nil {
			return id, no
		}
		if again && !r.enforce.returning.knows(id) {
			return id, &Refusal{ReasonNoBundle, id.Fleet, id.Device}
		}
		if no := r.enrol(ctx, registry, id); no != nil {
			return id, no
		}
		switch err := r.enforce.while(registry, func() error { return admit(id) }); {
		case errors.Is(err, errSuperseded):
			continue
		case err != nil:
			r.log.Warn("auth callout: answer not sent", "err", err)
			return id, &Refusal{ReasonBadRequest, id.Fleet, id.Device}
		}
		if !again {
			r.enforce.returning.note(id)
		}
		return id, nil
	}
}

// verify checks a password, a costly one only when a slot comes free before the broker gives up.
func (r *responder) verify(ctx context.Context, h password.Hash, plain string) (match, ok bool) {
	if !h.Costly() {
		return h.Verify(plain), true
	}
	select {
	case r.waiting <- struct{}{}:
		defer func() { <-r.waiting }()
	default:
		return false, false
	}
	select {
	case r.costly <- struct{}{}:
		defer func() { <-r.costly }()
		return h.Verify(plain), true
	case <-ctx.Done():
		return false, false
	}
}

func (r *responder) admit(m *nats.Msg, rc *jwt.AuthorizationRequestClaims, id Identity) error {
	token, err := Claims(id, rc.UserNkey, r.now(), rand.Float64()).Encode(r.key) //nolint:gosec // jitter of an expiry, not a secret
	if err != nil {
		return fmt.Errorf("sign user: %w", err)
	}
	if id.ClientID != "" { // an edge node has none
		r.enforce.admitted.add(id.ClientID, rc.Server.ID, rc.ClientInformation.ID)
	}
	return r.respond(m, rc, func(answer *jwt.AuthorizationResponseClaims) { answer.Jwt = token })
}

func (r *responder) refuse(m *nats.Msg, rc *jwt.AuthorizationRequestClaims, no *Refusal) {
	r.stats.refused(no)
	r.log.Debug("device refused", "reason", no.Reason, "fleet", no.Fleet, "device", no.Device)
	if err := r.respond(m, rc, func(answer *jwt.AuthorizationResponseClaims) { answer.Error = string(no.Reason) }); err != nil {
		r.log.Warn("auth callout: answer not sent", "err", err)
	}
}

func (r *responder) respond(m *nats.Msg, rc *jwt.AuthorizationRequestClaims, fill func(*jwt.AuthorizationResponseClaims)) error {
	answer := jwt.NewAuthorizationResponseClaims(rc.UserNkey)
	answer.Audience = rc.Server.ID
	fill(answer)
	token, err := answer.Encode(r.key)
	if err != nil {
		return fmt.Errorf("sign answer: %w", err)
	}
	return m.Respond([]byte(token))
}

// request reads what a connection shows. The certificates may be verified by the broker or not: Identify verifies them.
func request(rc *jwt.AuthorizationRequestClaims) (Request, error) {
	req := Request{Type: rc.ClientInformation.Type, ClientID: rc.ClientInformation.MQTT,
		Username: rc.ConnectOptions.Username, Password: rc.ConnectOptions.Password}
	if rc.TLS == nil {
		return req, nil
	}
	texts := rc.TLS.Certs
	if len(rc.TLS.VerifiedChains) > 0 {
		texts = rc.TLS.VerifiedChains[0]
	}
	for _, text := range texts {
		certs, err := chain.Parse(text)
		if err != nil {
			return req, err
		}
		req.Chain = append(req.Chain, certs...)
	}
	return req, nil
}
