package grid

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/nats-io/nats.go"
	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"

	"github.com/dizuo/dizuo/internal/contract"
	"github.com/dizuo/dizuo/internal/node/intake"
)

const (
	// deliveryTimeout bounds one attempt; a claimed message is free again after claimFor, for who claimed it may have been killed.
	deliveryTimeout = 10 * time.Second
	claimFor        = 2 * deliveryTimeout
	// deadAfter is how long a message is tried; then it is a dead letter until somebody replays it.
	deadAfter = 24 * time.Hour
)

// deliverer sends the outbox. Several may run at once: each claims what it sends.
type deliverer struct {
	pool      *pgxpool.Pool
	in        *intake.Intake
	secretDir string
	plain     bool
	// publish sends over the broker; see sendMQTT.
	publish func(*nats.Msg) error
	metrics *metrics
	log     *slog.Logger
	now     func() time.Time
}

// message is a row of the outbox that was claimed.
type message struct {
	ID           uuid.UUID
	Organization string
	Payload      []byte
	// Since is when it was made, or replayed.
	Since    time.Time
	Attempts int
}

// claim takes messages that are due, at most limit, and none of the organisations that are left out: whoever claimed one sends it.
func (d *deliverer) claim(ctx context.Context, limit int, leftOut []string) ([]message, error) {
	now := d.now()
	rows, err := d.pool.Query(ctx, `UPDATE grid.dispatch_outbox SET attempts = attempts + 1, next_attempt_at = $2 WHERE id IN (
			SELECT id FROM grid.dispatch_outbox WHERE delivered_at IS NULL AND dead_at IS NULL AND next_attempt_at <= $1 AND organization <> ALL ($4::text[])
			ORDER BY next_attempt_at LIMIT $3 FOR UPDATE SKIP LOCKED)
		RETURNING id, organization, payload, coalesce(tried_since, created_at), attempts`, now, now.Add(claimFor), limit, leftOut)
	if err != nil {
		return nil, fmt.Errorf("claim messages: %w", err)
	}
	messages, err := pgx.CollectRows(rows, pgx.RowToStructByPos[message])
	if err != nil {
		return nil, fmt.Errorf("claim messages: %w", err)
	}
	return messages, nil
}

// attempt sends a message that was claimed, and writes how that went.
func (d *deliverer) attempt(ctx context.Context, dir contract.Directory, m message) error {
	return d.finish(ctx, m, d.send(ctx, dir, m))
}

// finish writes how an attempt went.
func (d *deliverer) finish(ctx context.Context, m message, failed error) error {
	now, result := d.now(), "delivered"
	var err error
	switch {
	case failed == nil:
		_, err = d.pool.Exec(ctx, "UPDATE grid.dispatch_outbox SET delivered_at = $2, last_error = '' WHERE id = $1", m.ID, now)
	case now.Sub(m.Since) > deadAfter:
		result = "dead"
		_, err = d.pool.Exec(ctx, "UPDATE grid.dispatch_outbox SET dead_at = $2, last_error = $3 WHERE id = $1 AND delivered_at IS NULL", m.ID, now, failed.Error())
	default:
		wait := pause(m.Attempts, rand.Float64()) //nolint:gosec // jitter of a pause, not a secret
		if result = "failed"; errors.Is(failed, errUnacknowledged) {
			result, wait = "sent", min(wait, longestMQTTPause)
		}
		_, err = d.pool.Exec(ctx, "UPDATE grid.dispatch_outbox SET next_attempt_at = $2, last_error = $3 WHERE id = $1 AND delivered_at IS NULL", m.ID, now.Add(wait), failed.Error())
	}
	d.metrics.deliveries.WithLabelValues(m.Organization, result).Inc()
	if failed != nil && result != "sent" {
		d.log.Warn("message not delivered", "organization", m.Organization, "message", m.ID, "attempt", m.Attempts, "err", failed)
	}
	if err != nil {
		return fmt.Errorf("message %s: %w", m.ID, err)
	}
	return nil
}

// pause gives the time before the next attempt: 2 s doubled up to an hour, less up to a quarter by jitter (0 to 1).
func pause(attempts int, jitter float64) time.Duration {
	d := time.Hour
	if attempts < 11 {
		d = min(d, 2*time.Second<<max(0, attempts-1))
	}
	return d - time.Duration(jitter*float64(d)/4)
}

// send makes one attempt. The error names the cause and never what the other side sent.
func (d *deliverer) send(ctx context.Context, dir contract.Directory, m message) error {
	o := dir.Organizations[m.Organization]
	if deliveryOf(o) == contract.DeliveryMQTT {
		return d.sendMQTT(m)
	}
	hook := o.Webhook
	if hook == nil {
		return errors.New("organization has no webhook")
	}
	target, err := d.target(hook.URL)
	if err != nil {
		return err
	}
	signer, err := d.signer(m.Organization)
	if err != nil {
		return err
	}
	client, err := d.client(*hook)
	if err != nil {
		return err
	}
	defer client.CloseIdleConnections()
	now := d.now()
	signature, err := signer.Sign(m.ID.String(), now, m.Payload)
	if err != nil {
		return fmt.Errorf("sign: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, deliveryTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, target, bytes.NewReader(m.Payload))
	if err != nil {
		return fmt.Errorf("request: %w", err)
	}
	req.Header.Set("Content-Type", event.ApplicationCloudEventsJSON)
	req.Header.Set(standardwebhooks.HeaderWebhookID, m.ID.String())
	req.Header.Set(standardwebhooks.HeaderWebhookTimestamp, strconv.FormatInt(now.Unix(), 10))
	req.Header.Set(standardwebhooks.HeaderWebhookSignature, signature)
	resp, err := client.Do(req)
	if err != nil {
		return fmt.Errorf("post: %w", err)
	}
	defer func() { _ = resp.Body.Close() }()
	_, _ = io.Copy(io.Discard, io.LimitReader(resp.Body, 64<<10))
	if resp.StatusCode < 200 || resp.StatusCode > 299 {
		return fmt.Errorf("endpoint answered %d, want 2xx", resp.StatusCode)
	}
	return nil
}

// signer reads the organisation's secret again for every attempt: a rotation needs no restart.
func (d *deliverer) signer(organization string) (*standardwebhooks.Webhook, error) {
	raw, err := os.ReadFile(filepath.Join(d.secretDir, filepath.Base(contract.WebhookSecretFile(organization))))
	if err != nil {
		return nil, errors.New("webhook secret of the organization is not there")
	}
	signer, err := standardwebhooks.NewWebhook(strings.TrimSpace(string(raw)))
	if err != nil {
		return nil, errors.New("webhook secret of the organization is no Standard Webhooks secret; write whsec_ and base64")
	}
	return signer, nil
}

// target checks a webhook's URL.
func (d *deliverer) target(raw string) (string, error) {
	u, err := url.Parse(raw)
	if err != nil || u.Host == "" || u.User != nil {
		return "", errors.New("webhook url is no URL with a host and without a user")
	}
	switch {
	case u.Scheme == "https":
		return u.String(), nil
	case u.Scheme == "http" && d.plain && inside(u.Hostname()):
		return u.String(), nil
	}
	return "", errors.New("webhook url must be https; http is only for services of the cluster, where the platform allows it")
}

// inside says whether a host is a service of the cluster or this machine.
func inside(host string) bool {
	if ip, err := netip.ParseAddr(host); err == nil {
		return ip.IsLoopback()
	}
	return host == "localhost" || strings.HasSuffix(host, ".svc") || strings.HasSuffix(host, ".svc.cluster.local")
}

// client gives a client that trusts the webhook's CA, follows no redirect and uses no proxy.
func (d *deliverer) client(hook contract.Webhook) (*http.Client, error) {
	cfg := &tls.Config{MinVersion: tls.VersionTLS12}
	if hook.CABundle != "" {
		cfg.RootCAs = x509.NewCertPool()
		if !cfg.RootCAs.AppendCertsFromPEM([]byte(hook.CABundle)) {
			return nil, errors.New("webhook caBundle holds no PEM certificate")
		}
	}
	dialer := &net.Dialer{Timeout: 5 * time.Second, Control: d.refuseOwn}
	return &http.Client{
		Transport:     &http.Transport{TLSClientConfig: cfg, DialContext: dialer.DialContext, TLSHandshakeTimeout: 5 * time.Second},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}, nil
}

// refuseOwn keeps webhooks from this machine and from the metadata services of clouds, whatever a name resolves to.
func (d *deliverer) refuseOwn(_, address string, _ syscall.RawConn) error {
	ap, err := netip.ParseAddrPort(address)
	if err != nil {
		return fmt.Errorf("webhook address: %w", err)
	}
	ip := ap.Addr().Unmap()
	if ip.IsLinkLocalUnicast() || ip.IsUnspecified() || ip.IsMulticast() || ip.IsLoopback() && !d.plain {
		return errors.New("webhook host resolves to an address that no webhook may have")
	}
	return nil
}
