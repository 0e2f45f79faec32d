package story

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/dizuo/dizuo/internal/contract"
)

// Kill is a platform under load whose pods are killed. One detector repeats its alarm at QoS 1, a message with an id of its
// own every few milliseconds; at each kill another detector raises an alarm.
type Kill struct {
	teller
	run     string
	devices []string
	load    *load
	alarms  int
}

// Result of a Kill.
type Result struct {
	// Sent counts messages of the loud detector; Acked and Stored hold the ids of those with a PUBACK, and of those in the
	// ingest log. A message without a PUBACK may be stored all the same.
	Sent          int
	Acked, Stored map[string]bool
	// Worked is how many signals of the loud detector its case counts.
	Worked int
	// Alarms counts acknowledged alarms of the other detectors, Cases the cases that came of them.
	Alarms, Cases int
}

// kills is how many pods may be killed: each takes a detector of its own.
const kills = 3

// NewKill brings the sample up, registers detectors for this run, and starts the load.
func NewKill(ctx context.Context, env Env, p Printer) (*Kill, error) {
	dir, err := os.MkdirTemp("", "dizuo-kill-")
	if err != nil {
		return nil, err
	}
	k := &Kill{teller: teller{Env: env, print: p, dir: dir}, run: time.Now().UTC().Format("0102-150405")}
	if err := k.prepare(ctx); err != nil {
		return nil, errors.Join(err, k.Close(ctx))
	}
	k.load, err = startLoad(ctx, &k.teller, k.devices[0], k.run)
	if err != nil {
		return nil, errors.Join(err, k.Close(ctx))
	}
	return k, nil
}

func (k *Kill) prepare(ctx context.Context) error {
	if _, err := k.quiet(ctx, nil, k.Kubectl, "apply", "-k", filepath.Join(k.Root, samplesDir)); err != nil {
		return err
	}
	if err := k.waitReady(ctx); err != nil {
		return err
	}
	// The load is far above what a detector may send: without a limit of its own it would be dropped after the burst of an hour.
	patch := []map[string]any{{"op": "add", "path": "/spec/limits", "value": map[string]int{"messagesPerMinute": 60_000}}}
	enrol := []string{"fleet", "enroll", "--secret", smokeSpace + "/smoke-ca", "--fleet", smokeFleet, "--platform", platform, "--out", k.certs()}
	for i := range kills + 1 {
		name := fmt.Sprintf("sd-kill-%s-%d", k.run, i)
		k.devices = append(k.devices, name)
		enrol = append(enrol, "--device", name)
		patch = append(patch, map[string]any{"op": "add", "path": "/spec/inventory/rows/-",
			"value": map[string]string{"device": name, "community": community, "grid": "grid-2", "compound": "west"}})
	}
	raw, err := json.Marshal(patch)
	if err != nil {
		return err
	}
	for _, c := range [][]string{
		{k.Kubectl, "patch", "devicefleet", "-n", smokeSpace, smokeFleet, "--type", "json", "-p", string(raw)},
		{k.Kubectl, "wait", "--timeout=60s", "--for=condition=Ready", "-n", smokeSpace, "devicefleet/" + smokeFleet},
		append([]string{k.Dizuo}, enrol...),
	} {
		if _, err := k.quiet(ctx, nil, c[0], c[1:]...); err != nil {
			return err
		}
	}
	data, err := k.secret(ctx, smokeSpace, "smoke-connection")
	if err != nil {
		return err
	}
	if err := os.WriteFile(k.brokerCA(), data["ca.crt"], 0o644); err != nil {
		return err
	}
	return k.forwards(ctx)
}

// Kill kills a pod by force (an exact name, or the prefix of one that has a generated name), raises an alarm while it is
// away, and waits until another one stands in its place.
func (k *Kill) Kill(ctx context.Context, n int, prefix string) error {
	before, err := k.pod(ctx, prefix)
	if err != nil {
		return err
	}
	if err := k.load.progress(ctx, 100); err != nil {
		return err
	}
	began := time.Now()
	if _, err := k.teller.run(ctx, k.Kubectl, "delete", "pod", "-n", namespace, before.name, "--force", "--grace-period=0"); err != nil {
		return err
	}
	if err := k.raise(ctx, k.devices[n+1]); err != nil {
		return err
	}
	_, err = until(ctx, 2*time.Minute, 200*time.Millisecond, func() (bool, string, error) {
		now, err := k.pod(ctx, prefix)
		return err == nil && now.uid != before.uid && now.ready, prefix + " is not Ready again", nil
	})
	if err != nil {
		return err
	}
	k.print.Seen(time.Since(began), "%s was killed and stands again", prefix)
	return k.load.progress(ctx, 100)
}

type podView struct {
	name, uid string
	ready     bool
}

// pod finds the youngest pod of the platform whose name begins so.
func (k *Kill) pod(ctx context.Context, prefix string) (podView, error) {
	var list struct {
		Items []struct {
			Metadata struct{ Name, UID, DeletionTimestamp, CreationTimestamp string }
			Status   struct {
				Conditions []struct{ Type, Status string }
			}
		}
	}
	if err := k.object(ctx, &list, "pods", "-n", namespace); err != nil {
		return podView{}, err
	}
	for _, p := range list.Items {
		if !strings.HasPrefix(p.Metadata.Name, prefix) || p.Metadata.DeletionTimestamp != "" {
			continue
		}
		v := podView{name: p.Metadata.Name, uid: p.Metadata.UID}
		for _, c := range p.Status.Conditions {
			v.ready = v.ready || c.Type == "Ready" && c.Status == "True"
		}
		return v, nil
	}
	return podView{}, fmt.Errorf("no pod %s in namespace %s", prefix, namespace)
}

// raise sends one alarm of a device until it is acknowledged.
func (k *Kill) raise(ctx context.Context, device string) error {
	_, err := until(ctx, time.Minute, 100*time.Millisecond, func() (bool, string, error) {
		h, err := connect("ssl://localhost:"+k.broker.Port, k.certs(), k.brokerCA(), smokeFleet, device)
		if err == nil {
			defer h.close()
			err = h.publish(contract.DeviceTopic(smokeFleet, device, contract.ChannelSignal), fmt.Sprintf(`{"smoke":true,"id":"%s"}`, device))
		}
		return err == nil, fmt.Sprintf("alarm of %s: %v", device, err), nil
	})
	if err == nil {
		k.alarms++
	}
	return err
}

// wrongFor is how long a wrong count stands still before it is taken for the answer.
const wrongFor = 30 * time.Second

// Settle ends the load, waits until all of it is worked off, and compares.
func (k *Kill) Settle(ctx context.Context) (Result, error) {
	r := Result{Alarms: k.alarms}
	r.Sent, r.Acked = k.load.stop()
	last := fmt.Sprintf("%s-%d", k.run, r.Sent)
	if err := k.raiseLast(ctx, last); err != nil {
		return r, err
	}
	r.Sent, r.Acked[last] = r.Sent+1, true
	const query = `SELECT coalesce((SELECT signals FROM grid.cases WHERE device = '%s'), 0) || ' ' ||
		(SELECT count(*) FROM grid.cases WHERE device = ANY ('{%s}') AND state = 'Dispatched') || ' ' ||
		(SELECT count(*) FROM grid.dispatch_outbox o JOIN grid.cases c ON c.id = o.case_id WHERE c.device = ANY ('{%s}') AND o.delivered_at IS NULL)`
	others := strings.Join(k.devices[1:], ",")
	steady, since := "", time.Now()
	_, err := until(ctx, 3*time.Minute, time.Second, func() (bool, string, error) {
		var err error
		if r.Stored, err = k.stored(ctx); err != nil {
			return false, "", err
		}
		text, err := k.sql(ctx, fmt.Sprintf(query, k.devices[0], others, others))
		if err != nil {
			return false, err.Error(), nil // the database may be coming back
		}
		var pending int
		if _, err := fmt.Sscan(text, &r.Worked, &r.Cases, &pending); err != nil {
			return false, "", err
		}
		if text != steady {
			steady, since = text, time.Now()
		}
		done := r.Worked == len(r.Stored) && r.Cases == r.Alarms && pending == 0
		return done || time.Since(since) > wrongFor, "signals, cases, undelivered: " + text, nil
	})
	return r, err
}

// raiseLast sends one more message of the loud detector: when it is worked off, all before it are.
func (k *Kill) raiseLast(ctx context.Context, id string) error {
	_, err := until(ctx, time.Minute, 100*time.Millisecond, func() (bool, string, error) {
		h, err := connect("ssl://localhost:"+k.broker.Port, k.certs(), k.brokerCA(), smokeFleet, k.devices[0])
		if err == nil {
			defer h.close()
			err = h.publish(contract.DeviceTopic(smokeFleet, k.devices[0], contract.ChannelSignal), loudPayload(id))
		}
		return err == nil, fmt.Sprint(err), nil
	})
	return err
}

// stored reads the ids in the ingest log from the broker's volume: message blocks hold payloads as they came.
func (k *Kill) stored(ctx context.Context) (map[string]bool, error) {
	path, err := volume(ctx, &k.teller, "data-dizuo-broker-0")
	if err != nil {
		return nil, err
	}
	id := regexp.MustCompile(`"id":"(` + regexp.QuoteMeta(k.run) + `-[0-9]+)"`)
	found := map[string]bool{}
	err = filepath.WalkDir(path, func(name string, e fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil // compacted meanwhile
		}
		if err != nil || e.IsDir() || !strings.HasSuffix(name, ".blk") || !strings.Contains(name, contract.IngestStream) {
			return err
		}
		raw, err := os.ReadFile(name)
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		for _, m := range id.FindAllSubmatch(raw, -1) {
			found[string(m[1])] = true
		}
		return err
	})
	return found, err
}

// Close voids the cases of this run, takes its detectors out of the registry, and removes its keys.
func (k *Kill) Close(ctx context.Context) error {
	if k.load != nil {
		k.load.stop()
	}
	var errs []error
	if k.grid != nil && k.load != nil {
		errs = append(errs, k.void(ctx))
	}
	k.broker.Close()
	k.grid.Close()
	k.gateway.Close()
	return errors.Join(append(errs, k.restore(ctx), os.RemoveAll(k.dir))...)
}

// void closes the cases of killed runs as false alarms, as the committee's office would.
func (k *Kill) void(ctx context.Context) error {
	_, err := until(ctx, 30*time.Second, 500*time.Millisecond, func() (bool, string, error) {
		list, err := k.cases(ctx, officeWorker, "CommunityWorker")
		for _, c := range list {
			if strings.HasPrefix(c.Device, "sd-kill-") && c.State == "Dispatched" {
				_, acted := k.quiet(ctx, nil, k.Dizuo, append([]string{"cases", "act", c.ID, "--action", "Void"}, k.committee(officeWorker, "CommunityWorker")...)...)
				err = errors.Join(err, acted)
			}
		}
		return err == nil, fmt.Sprintf("cases of the run stay open: %v", err), nil
	})
	return err
}

// load is a detector that publishes without end. It never sends a message twice: what was not acknowledged stays open.
type load struct {
	cancel context.CancelFunc
	done   chan struct{}

	mu    sync.Mutex
	sent  int
	acked map[string]bool
}

// pace is the pause between two messages. Messages of one millisecond would be told apart by their ids alone.
const pace = 4 * time.Millisecond

func loudPayload(id string) string { return `{"smoke":true,"id":"` + id + `"}` }

func startLoad(ctx context.Context, t *teller, device, run string) (*load, error) {
	ctx, cancel := context.WithCancel(ctx)
	l := &load{cancel: cancel, done: make(chan struct{}), acked: map[string]bool{}}
	first, err := connect("ssl://localhost:"+t.broker.Port, t.certs(), t.brokerCA(), smokeFleet, device)
	if err != nil {
		cancel()
		return nil, err
	}
	go func() {
		defer close(l.done)
		h := first
		for ctx.Err() == nil {
			if h == nil {
				h, err = connect("ssl://localhost:"+t.broker.Port, t.certs(), t.brokerCA(), smokeFleet, device)
				if err != nil {
					h = nil
					pauseFor(ctx, 100*time.Millisecond)
					continue
				}
			}
			if !l.one(h, device, run) {
				h.close()
				h = nil
			}
			pauseFor(ctx, pace)
		}
		h.close()
	}()
	return l, nil
}

// one publishes the next message; false if its fate is unknown.
func (l *load) one(h *holder, device, run string) bool {
	l.mu.Lock()
	id := run + "-" + strconv.Itoa(l.sent)
	l.sent++
	l.mu.Unlock()
	if err := h.publish(contract.DeviceTopic(smokeFleet, device, contract.ChannelSignal), loudPayload(id)); err != nil {
		return false
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.acked[id] = true
	return true
}

// progress waits for n more acknowledged messages.
func (l *load) progress(ctx context.Context, n int) error {
	l.mu.Lock()
	want := len(l.acked) + n
	l.mu.Unlock()
	_, err := until(ctx, time.Minute, 20*time.Millisecond, func() (bool, string, error) {
		l.mu.Lock()
		defer l.mu.Unlock()
		return len(l.acked) >= want, fmt.Sprintf("%d messages acknowledged, want %d", len(l.acked), want), nil
	})
	return err
}

// stop ends the load and gives what was sent and what was acknowledged.
func (l *load) stop() (int, map[string]bool) {
	l.cancel()
	<-l.done
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.sent, l.acked
}

func pauseFor(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

// Change changes the platform's spec by a merge patch, raises an alarm while the change is under way, and waits until the platform
// is Ready with it.
func (k *Kill) Change(ctx context.Context, n int, what, patch string) error {
	if err := k.load.progress(ctx, 100); err != nil {
		return err
	}
	began := time.Now()
	if _, err := k.quiet(ctx, nil, k.Kubectl, "patch", "gridplatform", "-n", namespace, platform, "--type", "merge", "-p", patch); err != nil {
		return err
	}
	if err := k.raise(ctx, k.devices[n+1]); err != nil {
		return err
	}
	_, err := until(ctx, 5*time.Minute, time.Second, func() (bool, string, error) {
		var p struct {
			Metadata struct{ Generation int64 }
			Status   struct {
				ObservedGeneration int64
				Conditions         []struct{ Type, Status, Message string }
			}
		}
		if err := k.object(ctx, &p, "gridplatform", platform, "-n", namespace); err != nil {
			return false, err.Error(), nil
		}
		for _, c := range p.Status.Conditions {
			if c.Type == "Ready" {
				return c.Status == "True" && p.Status.ObservedGeneration == p.Metadata.Generation, c.Message, nil
			}
		}
		return false, "no condition Ready", nil
	})
	if err != nil {
		return err
	}
	k.print.Seen(time.Since(began), "%s", what)
	return k.load.progress(ctx, 100)
}

// ExternalDatabase brings up a PostgreSQL server that is not Dizuo's, gives the platform the Secret with its connection string, and
// gives the CA of its certificate.
func (k *Kill) ExternalDatabase(ctx context.Context) (ca string, err error) {
	const space, password = "e2e-database", "not-a-secret"
	image, err := k.quiet(ctx, nil, k.Kubectl, "get", "statefulset", "-n", namespace, "dizuo-postgres", "-o", "jsonpath={.spec.template.spec.containers[0].image}")
	if err != nil {
		return "", err
	}
	raw, err := os.ReadFile(filepath.Join(k.Root, "test", "e2e", "testdata", "external-database.yaml"))
	if err != nil {
		return "", err
	}
	manifest := strings.NewReplacer("${IMAGE}", strings.TrimSpace(image), "${PASSWORD}", password).Replace(string(raw))
	secret := fmt.Sprintf("---\napiVersion: v1\nkind: Secret\nmetadata: {name: city-database, namespace: %s}\nstringData: {dsn: 'postgres://city:%s@database.%s.svc:5432/cases'}\n", namespace, password, space)
	if _, err := k.quiet(ctx, strings.NewReader(manifest+secret), k.Kubectl, "apply", "-f", "-"); err != nil {
		return "", err
	}
	if _, err := k.quiet(ctx, nil, k.Kubectl, "wait", "--timeout=120s", "--for=condition=Available", "-n", space, "deployment/database"); err != nil {
		return "", err
	}
	data, err := k.secret(ctx, space, "database-tls")
	return string(data["ca.crt"]), err
}

// DropExternalDatabase removes it again.
func (k *Kill) DropExternalDatabase(ctx context.Context) error {
	_, err := k.quiet(ctx, nil, k.Kubectl, "delete", "--ignore-not-found", "--wait=false", "namespace/e2e-database")
	_, err2 := k.quiet(ctx, nil, k.Kubectl, "delete", "--ignore-not-found", "-n", namespace, "secret/city-database")
	return errors.Join(err, err2)
}

// Raise sends an alarm of one of the other detectors until it is acknowledged.
func (k *Kill) Raise(ctx context.Context, n int) error { return k.raise(ctx, k.devices[n+1]) }

// Ready waits until the platform and what stands on it is Ready.
func (k *Kill) Ready(ctx context.Context) error { return k.waitReady(ctx) }

// Credentials gives a hash of every value in a Secret of the platform that opens something: keys and passwords that were made once, and
// the keys of certificates whose holders must not notice.
func (k *Kill) Credentials(ctx context.Context) (map[string]string, error) {
	out := map[string]string{}
	for _, space := range []string{namespace, smokeSpace} {
		var list struct {
			Items []struct {
				Metadata struct{ Name string }
				Type     string
				Data     map[string]string
			}
		}
		if err := k.object(ctx, &list, "secrets", "-n", space); err != nil {
			return nil, err
		}
		for _, s := range list.Items {
			if s.Type == "kubernetes.io/service-account-token" {
				continue
			}
			for key, value := range s.Data {
				out[space+"/"+s.Metadata.Name+" "+key] = fmt.Sprintf("%x", sha256.Sum256([]byte(value)))
			}
		}
	}
	return out, nil
}

// Clear removes the sample, and waits until it is gone: its namespaces take all with them.
func Clear(ctx context.Context, env Env) error {
	t := teller{Env: env}
	_, err := t.quiet(ctx, nil, env.Kubectl, "delete", "--ignore-not-found", "--timeout=180s", "namespace", namespace, "henan-partners", smokeSpace, "henan-vendor-door")
	return err
}
