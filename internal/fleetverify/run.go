package fleetverify

import (
	"context"
	"crypto/sha256"
	"crypto/x509"
	"fmt"
	"net"
	"strings"
)

// run is one run of the checks.
type run struct {
	Options
	ctx context.Context
	// verdicts by id.
	verdicts map[string]verdict
	// blocked says, by group, why checks without a verdict were not made.
	blocked map[Group]Text
	report  *Report
	// marks counts the payloads that were made; mark is the same in all of them.
	mark  string
	marks int
	// reached says that the broker's port was open once; lost why it was not when it was last dialled.
	reached bool
	lost    error
}

type verdict struct {
	result   Result
	evidence Text
}

func (r *run) passed(id, en, zh string, args ...any) { r.set(id, Passed, say(en, zh, args...)) }
func (r *run) failed(id, en, zh string, args ...any) { r.set(id, Failed, say(en, zh, args...)) }
func (r *run) unproven(id, en, zh string, args ...any) {
	r.set(id, NotProven, say(en, zh, args...))
}

func (r *run) set(id string, result Result, evidence Text) {
	r.verdicts[id] = verdict{result, evidence}
}

// block says why the rest of some groups is not made.
func (r *run) block(why Text, groups ...Group) {
	for _, g := range groups {
		r.blocked[g] = why
	}
}

// Run makes the checks. An error means that the options do not fit together, that ctx ended or that the line was lost; whatever the platform does is in the
// report. Nothing is left behind on the platform but the messages that the report counts in Sent.
func Run(ctx context.Context, o Options) (*Report, error) {
	o.defaults()
	if err := o.check(); err != nil {
		return nil, err
	}
	r := &run{Options: o, ctx: ctx, verdicts: map[string]verdict{}, blocked: map[Group]Text{}, mark: newMark(), report: &Report{
		At: o.Now().UTC(), Tool: o.Tool, Offline: o.Offline, Samples: len(o.Samples)}}
	if c := o.Connection; len(c.CA) > 0 {
		r.report.Fleet, r.report.Device, r.report.ClientID, r.report.Method = c.Fleet, o.Device.Name, o.clientID(), c.Method
		r.report.Address, r.report.BrokerCA = net.JoinHostPort(c.Host, c.Port), Fingerprint(c.CA[0])
	}
	if o.Dial != r.report.Address {
		r.report.Dialled = o.Dial
	}
	if o.Profile != nil {
		r.report.Profile, r.report.SchemaVersion = o.Profile.Name, o.Profile.SchemaVersion
	}
	if o.Device.Certificate != nil {
		r.certificate()
	}
	r.online()
	if r.lost != nil {
		return nil, fmt.Errorf("%s was reached at first and not at the end, so a report would prove little: %w; keep the port open (a forwarded one in a loop) and run it again", r.address(), r.lost)
	}
	r.payloads()
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	return r.finish(), nil
}

// online makes the checks that need the platform. Each phase is made only if the one before it showed that it makes sense: above all,
// no credential is sent to who did not prove to be the broker.
func (r *run) online() {
	if r.Offline {
		return
	}
	r.Progress(say("TLS", "检查 TLS"))
	if !r.tls() {
		r.block(say("Not tried: the broker did not prove who it is, so no device should connect.", "未尝试：服务端未能证明身份，设备不应接入。"), GroupConnect, GroupPublish, GroupSubscribe)
		return
	}
	r.Progress(say("connections", "检查接入"))
	if !r.connect() {
		r.block(say("Not tried: the device was not let in.", "未尝试：设备未能接入。"), GroupConnect, GroupPublish, GroupSubscribe)
		return
	}
	r.Progress(say("subscriptions", "检查订阅"))
	r.subscribe()
	if r.Dry {
		r.block(say("Not tried: --dry publishes nothing.", "未尝试：--dry 不发送消息。"), GroupPublish)
		return
	}
	r.Progress(say("messages", "检查发送"))
	r.publish()
}

// finish puts the verdicts in the order of the catalogue.
func (r *run) finish() *Report {
	for _, e := range catalogue {
		if e.only != "" && e.only != r.Connection.Method || r.Offline && e.group != GroupDevice && e.group != GroupPayload {
			continue
		}
		v, ok := r.verdicts[e.id]
		if !ok {
			v = verdict{NotProven, r.blocked[e.group]}
		}
		c := Check{ID: e.id, Group: e.group, Title: e.title, Meaning: e.meaning, Result: v.result, Evidence: v.evidence}
		switch v.result {
		case Passed:
			r.report.Passed++
		case Failed:
			r.report.Failed++
		default:
			r.report.NotProven++
		}
		if v.result == Failed || ok && v.result == NotProven {
			c.Action = &e.action
		}
		r.report.Checks = append(r.report.Checks, c)
	}
	return r.report
}

// Fingerprint gives the SHA-256 of a certificate as tools print it: AB:CD:...
func Fingerprint(c *x509.Certificate) string {
	sum := sha256.Sum256(c.Raw)
	parts := make([]string, len(sum))
	for i, b := range sum {
		parts[i] = fmt.Sprintf("%02X", b)
	}
	return strings.Join(parts, ":")
}
