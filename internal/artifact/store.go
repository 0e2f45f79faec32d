package artifact

import (
	"context"
	"crypto/sha256"
	"errors"
	"sync"
	"time"
)

// Bounds of a Store.
const (
	// maxCached bytes of content are kept, as gzip: some forty fleets of the largest size.
	maxCached = 128 << 20
	// concurrent fetches, of all namespaces; one of each namespace, so that a slow host of one vendor holds up nobody else.
	concurrent = 4
	// firstRetry after a failure, doubled with each up to lastRetry.
	firstRetry, lastRetry = 30 * time.Second, 30 * time.Minute
)

// Key names content in the store. The namespace is part of it: who knows a digest has not yet shown the right to the content.
type Key struct {
	Namespace, URL, SHA256 string
}

// Result of a look into the store: content, or an error, or neither while it is being fetched.
type Result struct {
	Data []byte
	// Err of the last try.
	Err error
	// RetryAt is when the next look begins another try after an error.
	RetryAt time.Time
}

// Store fetches in the background and keeps what it fetched. It is safe for concurrent use.
type Store struct {
	ctx   context.Context
	fetch func(context.Context, Ref) ([]byte, error)
	now   func() time.Time
	slots chan struct{}

	mu         sync.Mutex
	entries    map[Key]*entry
	namespaces map[string]*queue
	used       int64 // bytes
	looks      int64
}

// queue lets one fetch of a namespace go at a time.
type queue struct {
	sync.Mutex
	waiting int
}

type entry struct {
	data     []byte
	err      error
	tries    int
	retryAt  time.Time
	fetching bool
	// credentials of the last try, hashed: with others it is tried again at once.
	credentials [sha256.Size]byte
	// waiting are called when the fetch has ended.
	waiting map[string]func()
	look    int64
}

// NewStore gives a Store whose fetches end with ctx.
func NewStore(ctx context.Context, f *Fetcher, now func() time.Time) *Store {
	return &Store{
		ctx: ctx, fetch: f.Fetch, now: now, slots: make(chan struct{}, concurrent),
		entries: map[Key]*entry{}, namespaces: map[string]*queue{},
	}
}

// Get gives what there is and never waits. Where there is nothing a fetch begins, one for all who ask, and done is called when it has
// ended; who names the caller, so that one that asks again is called once.
func (s *Store) Get(namespace string, ref Ref, who string, done func()) Result {
	s.mu.Lock()
	defer s.mu.Unlock()
	key := Key{namespace, ref.URL, ref.SHA256}
	e := s.entries[key]
	if e == nil {
		e = &entry{waiting: map[string]func(){}}
		s.entries[key] = e
	}
	s.looks++
	e.look = s.looks
	credentials := sha256.Sum256([]byte(ref.Credentials.Token + "\x00" + ref.Credentials.Username + "\x00" + ref.Credentials.Password))
	switch {
	case e.data != nil:
		return Result{Data: e.data}
	case e.fetching:
		e.waiting[who] = done
		return Result{}
	case e.err != nil && credentials == e.credentials && s.now().Before(e.retryAt):
		return Result{Err: e.err, RetryAt: e.retryAt}
	}
	e.fetching, e.credentials = true, credentials
	e.waiting[who] = done
	q := s.namespaces[namespace]
	if q == nil {
		q = &queue{}
		s.namespaces[namespace] = q
	}
	q.waiting++
	go s.run(key, e, ref, q)
	if e.err != nil { // of the last try: what was said stays until something else is known
		return Result{Err: e.err, RetryAt: s.now().Add(firstRetry)}
	}
	return Result{}
}

// run fetches when its turn has come, and calls who waits.
func (s *Store) run(key Key, e *entry, ref Ref, q *queue) {
	q.Lock()
	data, err := s.turn(ref)
	q.Unlock()
	s.mu.Lock()
	e.fetching = false
	if q.waiting--; q.waiting == 0 {
		delete(s.namespaces, key.Namespace)
	}
	if err == nil {
		e.data, e.err, e.tries = data, nil, 0
		s.used += int64(len(data))
		s.evict(e)
	} else {
		e.err, e.retryAt = err, s.now().Add(min(lastRetry, firstRetry<<min(e.tries, 10)))
		e.tries++
	}
	waiting := e.waiting
	e.waiting = map[string]func(){}
	s.mu.Unlock()
	for _, done := range waiting {
		done()
	}
}

func (s *Store) turn(ref Ref) ([]byte, error) {
	select {
	case <-s.ctx.Done():
		return nil, errors.New("the operator ends")
	case s.slots <- struct{}{}:
	}
	defer func() { <-s.slots }()
	return s.fetch(s.ctx, ref)
}

// evict lets the content go that was not looked at for the longest time, but not that of keep, until the rest fits. Failures are forgotten,
// too, once there are many: addresses and digests come from people.
func (s *Store) evict(keep *entry) {
	for s.used > maxCached || len(s.entries) > 10_000 {
		var oldest Key
		var found *entry
		for key, e := range s.entries {
			if e != keep && !e.fetching && (found == nil || e.look < found.look) {
				oldest, found = key, e
			}
		}
		if found == nil {
			return
		}
		s.used -= int64(len(found.data))
		delete(s.entries, oldest)
	}
}
