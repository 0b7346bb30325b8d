package keyset

import (
	"context"
	"errors"
	"math/rand/v2"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// Reasons for having no keys.
var (
	ErrNotLoaded = errors.New("the key set has never been loaded")
	ErrStale     = errors.New("the key set is older than its age limit")
)

const (
	firstRetry  = 200 * time.Millisecond
	lastRetry   = 30 * time.Second
	cooldown    = 30 * time.Second // between fetches that unknown key ids cause
	maxWaiting  = 1024             // requests that wait for such a fetch at a time
	usualMaxAge = 24 * time.Hour
)

// RemoteConfig is where keys come from.
type RemoteConfig struct {
	URL        string   // of the key set; "": the provider's document says it
	Issuer     string   // without URL: the provider, as CheckIssuer takes it
	Hosts      []string // without URL: where the key set may be, besides the issuer's own host
	Algorithms []*Algorithm
	MaxAge     time.Duration     // of the last good set; 0: 24 h
	Transport  http.RoundTripper // nil: its own
	Observe    func(Fetched)     // called by the refreshing goroutine after every fetch; nil: nobody asks
}

// Remote is a key set behind a URL, or behind a provider's document that says the URL. One goroutine refreshes it until
// Close.
type Remote struct {
	url      string // "": of the last document
	provider *provider
	allowed  []*Algorithm
	maxAge   time.Duration
	client   *http.Client
	observe  func(Fetched)

	set  atomic.Pointer[Set]
	good atomic.Int64 // when a fetch last succeeded, in Unix nanoseconds
	next atomic.Int64 // when the next fetch is due

	mu      sync.Mutex
	asked   time.Time     // when unknown key ids last caused a fetch
	tried   chan struct{} // closed when the first fetch has ended, well or badly
	flight  chan struct{} // closed when the fetch that was asked for has ended; nil: none asked for
	wake    chan struct{}
	waiting atomic.Int32

	etag   string // of the goroutine alone
	from   string // the URL that etag is of
	ctx    context.Context
	cancel context.CancelFunc
	done   chan struct{}
}

// NewRemote begins to fetch without waiting for an answer.
func NewRemote(cfg RemoteConfig) *Remote {
	ctx, cancel := context.WithCancel(context.Background())
	r := &Remote{
		url: cfg.URL, allowed: cfg.Algorithms, maxAge: cfg.MaxAge, observe: cfg.Observe,
		tried: make(chan struct{}), wake: make(chan struct{}, 1), ctx: ctx, cancel: cancel, done: make(chan struct{}),
	}
	if cfg.URL == "" {
		r.provider = &provider{issuer: cfg.Issuer, hosts: cfg.Hosts}
	}
	if r.maxAge == 0 {
		r.maxAge = usualMaxAge
	}
	if r.observe == nil {
		r.observe = func(Fetched) {}
	}
	if cfg.Transport == nil {
		cfg.Transport = newTransport()
	}
	r.client = &http.Client{
		Transport:     cfg.Transport,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	go r.run()
	return r
}

// Current gives the keys, or ErrNotLoaded or ErrStale.
func (r *Remote) Current(now time.Time) (*Set, error) {
	set := r.set.Load()
	if set == nil {
		return nil, ErrNotLoaded
	}
	if now.UnixNano()-r.good.Load() > int64(r.maxAge) {
		return nil, ErrStale
	}
	return set, nil
}

// RetryAfter is the number of whole seconds after which asking again makes sense: 1 to 30.
func (r *Remote) RetryAfter(now time.Time) int {
	wait := time.Duration(r.next.Load() - now.UnixNano())
	return int(min(max((wait+time.Second-1)/time.Second, 1), 30))
}

// Await waits for the end of the first fetch, but no longer than wait: a request that comes right after the start would
// be refused else. Once that fetch has ended it returns at once for ever.
func (r *Remote) Await(wait time.Duration) { r.sit(r.tried, wait) }

// Refresh is asked for when a token names an unknown key. At most one fetch in thirty seconds comes of it; callers share
// it and wait for its end, but no longer than wait.
func (r *Remote) Refresh(wait time.Duration) { r.sit(r.ask(time.Now()), wait) }

// sit waits for done within bounds: of time, and of the number of those who wait.
func (r *Remote) sit(done <-chan struct{}, wait time.Duration) {
	if done == nil || wait <= 0 {
		return
	}
	defer r.waiting.Add(-1)
	if r.waiting.Add(1) > maxWaiting {
		return
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-done:
	case <-timer.C:
	}
}

func (r *Remote) ask(now time.Time) <-chan struct{} {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.flight != nil {
		return r.flight
	}
	if r.ctx.Err() != nil || (!r.asked.IsZero() && now.Sub(r.asked) < cooldown) {
		return nil
	}
	r.asked, r.flight = now, make(chan struct{})
	r.wake <- struct{}{} // there is room: one flight at a time
	return r.flight
}

// land ends the fetch that was asked for.
func (r *Remote) land() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.flight != nil {
		close(r.flight)
		r.flight = nil
	}
}

// Close ends the refreshing and waits for it. The last good set can still be used.
func (r *Remote) Close() {
	r.cancel()
	<-r.done
	r.client.CloseIdleConnections()
}

func (r *Remote) run() {
	defer close(r.done)
	defer r.land()
	tried := sync.OnceFunc(func() { close(r.tried) })
	defer tried()
	failures := 0
	for asked := false; ; {
		fresh, err := r.refresh()
		tried()
		if r.ctx.Err() != nil {
			return
		}
		delay := fresh - time.Duration(rand.Float64()*0.1*float64(fresh))
		failures++
		if err == nil {
			failures = 0
		} else {
			delay = backoff(failures)
			if asked && r.set.Load() != nil {
				delay = max(delay, cooldown) // or unknown key ids could cause a row of fetches while the server is down
			}
		}
		r.next.Store(time.Now().Add(delay).UnixNano())
		if asked {
			r.land()
		}
		timer := time.NewTimer(delay)
		select {
		case <-r.ctx.Done():
			timer.Stop()
			return
		case <-timer.C:
			asked = false
		case <-r.wake:
			asked = true
			timer.Stop()
		}
	}
}

// backoff grows from 200 ms to 30 s; up to a quarter less, so that a fleet does not knock in step.
func backoff(failures int) time.Duration {
	delay := min(firstRetry<<min(failures-1, 10), lastRetry)
	return delay - time.Duration(rand.Float64()*0.25*float64(delay))
}

func (r *Remote) refresh() (time.Duration, error) {
	p, err := r.fetch(r.ctx)
	if r.ctx.Err() != nil {
		return 0, r.ctx.Err()
	}
	fetched := Fetched{Err: err}
	if err == nil {
		fetched = r.take(p)
	}
	r.observe(fetched)
	return p.fresh, fetched.Err
}

func (r *Remote) take(p page) Fetched {
	old := r.set.Load()
	if p.body == nil { // not modified
		r.good.Store(time.Now().UnixNano())
		return Fetched{Keys: old.Len()}
	}
	set, skipped, err := ParseJWKS(p.body, r.allowed)
	if err != nil {
		return Fetched{Skipped: skipped, Err: err}
	}
	r.etag = p.etag
	changed := !set.Same(old)
	r.good.Store(time.Now().UnixNano()) // before the set, which must never be seen as stale
	fetched := Fetched{Keys: set.Len(), Skipped: skipped, Changed: changed}
	if changed {
		fetched.Doubts = set.Doubts(r.allowed)
		set.succeed(old)
		r.set.Store(set)
	}
	return fetched
}
