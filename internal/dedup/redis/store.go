// Package redis keeps dedup records in Redis, for a fleet of gateways: one server, a primary watched by sentinels, or a cluster.
//
// It promises that every step is decided by Redis alone, on its own clock, in one script; that a claim or a result counts only
// after as many replicas have it as wait_replicas says; that a step is never repeated without its caller's knowledge; and that
// an error says whether something may have happened. After a change of primary, or a loss of all data, new claims are refused
// for a moment, while every gateway asserts its recent claims and results anew. It does not promise more than Redis' own
// failover keeps: WAIT is no consensus, and a claim is lost when a replica without it is promoted and the gateway that made it
// is gone too. While Redis can't be reached the store refuses, and comes back by itself.
package redis

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	goredis "github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/logging"
)

// Store keeps records in Redis. Close ends it.
type Store struct {
	cfg     Config
	log     *slog.Logger
	rec     Recorder
	names   *names
	scripts scripts
	clock   func() int64 // tests only: the time in ms that steps are given; nil in service
	fleet   *fleet
	guard   *guard
	keeper  *keeper
	proofs  chan proof
	wake    chan struct{} // pokes the watcher

	refusal atomic.Pointer[error] // why nothing is asked at all; nil: ready
	closed  atomic.Bool
	stop    context.CancelFunc
	ended   sync.WaitGroup

	scout *scout          // the watcher's
	told  map[string]bool // the watcher's: warnings that were given
}

// startTime is how long Open looks for Redis before it leaves that to the background.
const startTime = 3 * time.Second

// Open makes a store. The error is for what never becomes right by waiting, and says what to set. A Redis that can't be
// reached is none: the store refuses until it can.
func Open(ctx context.Context, cfg Config, deps Deps) (*Store, error) {
	s, err := assemble(cfg, deps, nil)
	if err != nil {
		return nil, err
	}
	return s.start(ctx)
}

func assemble(cfg Config, deps Deps, clock func() int64) (*Store, error) {
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	names, err := newNames(cfg.Prefix)
	if err != nil {
		return nil, err
	}
	if deps.Log == nil {
		deps.Log = slog.New(slog.DiscardHandler)
	}
	if deps.Recorder == nil {
		deps.Recorder = silent{}
	}
	s := &Store{
		cfg: cfg, log: deps.Log, rec: deps.Recorder, names: names, scripts: compile(clock != nil), clock: clock,
		fleet: newFleet(cfg, names), guard: newGuard(), keeper: newKeeper(), proofs: make(chan proof, maxProofs),
		wake: make(chan struct{}, 1), told: map[string]bool{},
	}
	s.scout = newScout(cfg, s.fleet)
	s.refuseAll(errNotReached)
	return s, nil
}

var quiet sync.Once

func (s *Store) start(ctx context.Context) (*Store, error) {
	quiet.Do(func() { goredis.SetLogger(&logging.VoidLogger{}) }) // it would write to stderr what we report ourselves
	background, stop := context.WithCancel(context.Background())
	s.stop = stop
	first, cancel := within(ctx, startTime)
	err := s.watch(first)
	cancel()
	if isFatal(err) {
		s.release()
		return nil, err
	}
	if err != nil {
		s.log.Warn("redis can't be used yet: keyed writes are refused until it can", "error", err)
	}
	s.ended.Go(func() { s.watchLoop(background, err) })
	s.ended.Go(func() { s.proveLoop(background) })
	s.ended.Go(func() { s.assertLoop(background) })
	return s, nil
}

// Close ends what runs in the background and the connections. Later calls are refused; running ones may fail.
func (s *Store) Close() error {
	if s.closed.Swap(true) {
		return nil
	}
	s.refuseAll(errClosed)
	s.stop()
	s.ended.Wait()
	s.release()
	return nil
}

func (s *Store) release() {
	s.stop()
	s.scout.close()
	s.fleet.close()
}

var errNotReached = errors.New("redis was not reached yet")

func (s *Store) refuseAll(why error) { s.refusal.Store(&why) }

// ready tells why nothing can be asked now.
func (s *Store) ready() error {
	if why := s.refusal.Load(); why != nil {
		return refuse("%w", *why)
	}
	return nil
}

func (s *Store) poke() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}
