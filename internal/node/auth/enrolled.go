package auth

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/dizuo/dizuo/internal/contract"
)

const (
	// attempts bounds how often a count is tried again that another replica changed meanwhile.
	attempts = 50
	// recountEvery is the pause between two counts of a fleet that is full.
	recountEvery = time.Minute
	pending      = "pending"
	taken        = "taken"
)

// errContended says that other replicas changed a count again and again.
var errContended = errors.New("count of enrolled devices is contended")

// enrolled remembers which devices that no row names were taken in, for all replicas together: in a bucket, one key a device and one
// count a fleet. The count errs to the full side alone: a device is counted before it is let in.
type enrolled struct {
	js  jetstream.JetStream
	now func() time.Time

	mu sync.Mutex
	// kv is opened when it is first needed: a broker of the version before has no such bucket.
	kv jetstream.KeyValue
	// recounted is when a fleet was last counted anew.
	recounted map[string]time.Time
}

func deviceKey(fleet, device string) string { return "d." + fleet + "." + device }
func countKey(fleet string) string          { return "n." + fleet }

// take reports whether a device is one of those that were taken in, and takes it in if there are fewer than limit. named tells the
// devices that have a row by now, which count no more.
func (e *enrolled) take(ctx context.Context, fleet, device string, limit int32, named func(device string) bool) (bool, error) {
	if err := e.open(ctx); err != nil {
		return false, err
	}
	for range attempts {
		revision, in, err := e.begin(ctx, deviceKey(fleet, device))
		if err != nil || in {
			return in, err
		}
		ok, err := e.room(ctx, fleet, device, limit, named)
		if err != nil {
			return false, err
		}
		if ok, err = e.settle(ctx, fleet, device, ok, revision); !errors.Is(err, jetstream.ErrKeyExists) {
			return ok, err
		}
	}
	return false, errContended
}

// begin notes a device before it is counted, or tells that it was taken in. The revision is that of the note.
func (e *enrolled) begin(ctx context.Context, key string) (revision uint64, in bool, err error) {
	entry, err := e.kv.Get(ctx, key)
	switch {
	case err == nil:
		return entry.Revision(), string(entry.Value()) == taken, nil
	case !errors.Is(err, jetstream.ErrKeyNotFound):
		return 0, false, fmt.Errorf("enrolled %s: %w", key, err)
	}
	revision, err = e.kv.Create(ctx, key, []byte(pending))
	if errors.Is(err, jetstream.ErrKeyExists) {
		return 0, false, errContended // the same device elsewhere, at this moment: it comes again
	}
	return revision, false, err
}

// room counts the device, if there is room; a full fleet is counted anew first.
func (e *enrolled) room(ctx context.Context, fleet, device string, limit int32, named func(string) bool) (bool, error) {
	ok, err := e.add(ctx, fleet, 1, limit)
	if err != nil || ok {
		return ok, err
	}
	if ok, err = e.recount(ctx, fleet, device, limit, named); err != nil || !ok {
		return false, err
	}
	return e.add(ctx, fleet, 1, limit)
}

// settle writes what became of a device that was noted at a revision. jetstream.ErrKeyExists says that another replica was faster: then
// nothing of ours stands, and it is to be looked at again.
func (e *enrolled) settle(ctx context.Context, fleet, device string, counted bool, revision uint64) (bool, error) {
	key := deviceKey(fleet, device)
	if !counted {
		err := e.kv.Delete(ctx, key, jetstream.LastRevision(revision))
		if outrun(err) {
			err = jetstream.ErrKeyExists
		}
		return false, err
	}
	_, err := e.kv.Update(ctx, key, []byte(taken), revision)
	if outrun(err) {
		if _, err := e.add(ctx, fleet, -1, math.MaxInt32); err != nil {
			return false, err
		}
		return false, jetstream.ErrKeyExists
	}
	return err == nil, err
}

// outrun reports whether a write failed because another came before it.
func outrun(err error) bool {
	var api *jetstream.APIError
	return errors.Is(err, jetstream.ErrKeyExists) || errors.As(err, &api) && api.ErrorCode == jetstream.JSErrCodeStreamWrongLastSequence
}

func (e *enrolled) open(ctx context.Context) (err error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.kv == nil {
		if e.kv, err = e.js.KeyValue(ctx, contract.EnrolledBucket); err != nil {
			return fmt.Errorf("bucket %s: %w", contract.EnrolledBucket, err)
		}
	}
	return nil
}

// add counts one device more, or one less; false where the fleet is full.
func (e *enrolled) add(ctx context.Context, fleet string, n int64, limit int32) (bool, error) {
	for range attempts {
		was, revision, err := e.count(ctx, fleet)
		if err != nil {
			return false, err
		}
		if was+n > int64(limit) {
			return false, nil
		}
		if _, err = e.kv.Update(ctx, countKey(fleet), []byte(strconv.FormatInt(max(0, was+n), 10)), revision); err == nil {
			return true, nil
		}
		if !outrun(err) {
			return false, fmt.Errorf("count of fleet %s: %w", fleet, err)
		}
	}
	return false, errContended
}

// count gives how many are counted, and the revision to change that at.
func (e *enrolled) count(ctx context.Context, fleet string) (n int64, revision uint64, err error) {
	entry, err := e.kv.Get(ctx, countKey(fleet))
	if errors.Is(err, jetstream.ErrKeyNotFound) {
		return 0, 0, nil
	}
	if err != nil {
		return 0, 0, fmt.Errorf("count of fleet %s: %w", fleet, err)
	}
	n, err = strconv.ParseInt(string(entry.Value()), 10, 64)
	return n, entry.Revision(), err
}

// recount counts the devices of a full fleet anew, without those that have a row by now and without self, and reports whether there is
// room. It heals a count that a crash left too high, and is done once in a while only.
func (e *enrolled) recount(ctx context.Context, fleet, self string, limit int32, named func(string) bool) (bool, error) {
	if !e.due(fleet) {
		return false, nil
	}
	_, revision, err := e.count(ctx, fleet) // before the list: who comes meanwhile makes the change below fail
	if err != nil {
		return false, err
	}
	keys, err := e.kv.ListKeysFiltered(ctx, deviceKey(fleet, "*"))
	if err != nil {
		return false, fmt.Errorf("devices of fleet %s: %w", fleet, err)
	}
	n := int64(0)
	for key := range keys.Keys() {
		device := strings.TrimPrefix(key, deviceKey(fleet, ""))
		switch {
		case device == self:
		case named(device):
			if err := e.kv.Delete(ctx, key); err != nil {
				return false, fmt.Errorf("forget %s.%s: %w", fleet, device, err)
			}
		default:
			n++
		}
	}
	if n >= int64(limit) {
		return false, nil
	}
	_, err = e.kv.Update(ctx, countKey(fleet), []byte(strconv.FormatInt(n, 10)), revision)
	if outrun(err) {
		return false, nil
	}
	return err == nil, err
}

func (e *enrolled) due(fleet string) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	now := e.now()
	if now.Sub(e.recounted[fleet]) < recountEvery {
		return false
	}
	if e.recounted == nil {
		e.recounted = map[string]time.Time{}
	}
	e.recounted[fleet] = now
	return true
}

// enrol takes in a device that no row names, if its fleet has room.
func (r *responder) enrol(ctx context.Context, registry *Registry, id Identity) *Refusal {
	if !id.Unnamed {
		return nil
	}
	if r.enrolled == nil { // an edge node: devices are taken in at the centre alone
		return &Refusal{Reason: ReasonNoDevice, Fleet: id.Fleet}
	}
	f := registry.fleets[id.Fleet]
	ok, err := r.enrolled.take(ctx, id.Fleet, id.Device, f.Open, func(device string) bool { _, named := f.Devices[device]; return named })
	switch {
	case err != nil:
		r.log.Warn("device not enrolled", "fleet", id.Fleet, "err", err)
		return &Refusal{Reason: ReasonBusy, Fleet: id.Fleet}
	case !ok:
		return &Refusal{Reason: ReasonFull, Fleet: id.Fleet}
	}
	return nil
}
