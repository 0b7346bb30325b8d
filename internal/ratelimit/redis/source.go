// Package redis keeps the leases and the seats of shared limits in Redis.
//
// It promises that a script that may have been executed is never sent again; that the clock is the server's; that no caller
// waits longer than 20 ms, and none at all while the store is known to be down; and that tokens are lost rather than granted
// twice when an answer does not come. It does not promise that a failover keeps what the old primary had not replicated: at most
// the grants of that moment come back. When the store fails, Draw ends with an error, seats do what on_store_failure says, and
// Gateways and names stay what they were.
package redis

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"log/slog"
	mathrand "math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	goredis "github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/logging"

	"github.com/oncegate/oncegate/internal/ratelimit"
	"github.com/oncegate/oncegate/internal/ratelimit/leases"
)

// Source is the store of leases and seats that a fleet of gateways shares.
type Source struct {
	cfg      Config
	log      *slog.Logger
	rec      Recorder
	names    names
	fleet    *fleet
	out      sender // where calls go; the fleet
	secret   secret
	seats    *seats
	me       string // this gateway among those that are alive
	gateways atomic.Int64
	counted  atomic.Bool  // gateways is sure
	met      time.Time    // when it was counted first; of watch
	beats    int          // since Redis was last away; of watch
	clock    func() int64 // microseconds; nil but in tests: the server's
	told     map[string]bool
	wake     chan struct{}
	resting  chan struct{} // closed by Close: no more beats
	watched  chan struct{} // closed when watch has ended; nil: it never began

	mu      sync.RWMutex
	closing bool
	closed  bool
	end     context.Context
	stop    context.CancelFunc
	ended   sync.WaitGroup
}

var (
	_ leases.Source   = (*Source)(nil)
	_ ratelimit.Seats = (*Source)(nil)
)

var quiet sync.Once

// Open connects to Redis. One that can't be reached is no error: it is waited for in the background. A wrong password or mode is.
func Open(ctx context.Context, cfg Config, deps Deps) (*Source, error) {
	s, err := prepare(cfg, deps)
	if err != nil {
		return nil, err
	}
	return s.start(ctx)
}

func prepare(cfg Config, deps Deps) (*Source, error) {
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	if cfg.patience == 0 {
		cfg.patience = patience
	}
	if deps.Log == nil {
		deps.Log = slog.New(slog.DiscardHandler)
	}
	if deps.Recorder == nil {
		deps.Recorder = silent{}
	}
	s := &Source{
		cfg: cfg, log: deps.Log, rec: deps.Recorder, names: names{cfg.Prefix + version}, me: "g" + unique(),
		told: map[string]bool{}, wake: make(chan struct{}, 1), resting: make(chan struct{}),
	}
	s.gateways.Store(1)
	s.end, s.stop = context.WithCancel(context.Background())
	s.fleet = newFleet(s)
	s.out = s.fleet
	s.seats = newSeats()
	rand.Read(s.secret.proposal[:])
	return s, nil
}

func (s *Source) start(ctx context.Context) (*Source, error) {
	quiet.Do(func() { goredis.SetLogger(&logging.VoidLogger{}) }) // it would write to stderr what we report ourselves
	first, cancel := context.WithTimeout(ctx, startTime)
	defer cancel()
	err := s.survey(first)
	if err == nil {
		err = s.renew(first)
	}
	if errors.Is(err, errFatal) {
		_ = s.Close()
		return nil, err
	}
	if err != nil {
		s.log.Warn("redis can't be used yet: shared limits do what on_store_failure says until it can", "error", err)
	}
	s.watched = make(chan struct{})
	s.spawn(func() {
		defer close(s.watched)
		s.watch(err)
	})
	return s, nil
}

// Close ends what runs in the background and the connections. Calls that wait end with ErrDown, and so do later ones.
func (s *Source) Close() error {
	s.mu.Lock()
	if s.closing {
		s.mu.Unlock()
		return nil
	}
	s.closing = true
	s.mu.Unlock()
	close(s.resting)
	s.awaitRest()
	s.sayGoodbye()
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	s.stop()
	s.fleet.close()
	s.ended.Wait()
	s.fleet.disconnect()
	return nil
}

// awaitRest lets a beat that is under way end: one that came after the goodbye would have us counted for as long as one that died.
func (s *Source) awaitRest() {
	if s.watched == nil {
		return
	}
	bound := time.NewTimer(2 * replyTimeout)
	defer bound.Stop()
	select {
	case <-s.watched:
	case <-bound.C:
	}
}

// spawn runs f in a goroutine that Close waits for; false when there is nothing to be run any more.
func (s *Source) spawn(f func()) bool {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if s.closed {
		return false
	}
	s.ended.Go(f)
	return true
}

// after runs f after d, or at once when the source is closed meanwhile.
func (s *Source) after(d time.Duration, f func()) bool {
	return s.spawn(func() {
		wait := time.NewTimer(d)
		defer wait.Stop()
		select {
		case <-wait.C:
		case <-s.end.Done():
		}
		f()
	})
}

// ask sends a call and waits for its answer.
func (s *Source) ask(ctx context.Context, script *script, key string, args ...any) (any, error) {
	type answer struct {
		value any
		err   error
	}
	got := make(chan answer, 1)
	due := time.Now().Add(max(s.cfg.patience, replyTimeout))
	s.out.send(&call{script: script, key: key, args: args, due: due, done: func(v any, err error) { got <- answer{v, err} }})
	select {
	case a := <-got:
		return a.value, a.err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// Gateways is how many were alive when Redis was last heard of, at least 1. That is sure when they were counted for some seconds:
// of a fleet that is started at once the first one is alone at first.
func (s *Source) Gateways() (n int, sure bool) { return int(s.gateways.Load()), s.counted.Load() }

func (s *Source) poke() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// jittered is half to one and a half of d.
func jittered(d time.Duration) time.Duration { return d/2 + mathrand.N(d) }

func unique() string {
	var raw [9]byte
	rand.Read(raw[:])
	return base64.RawURLEncoding.EncodeToString(raw[:])
}
