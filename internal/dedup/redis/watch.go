package redis

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"
)

// How often the watcher looks: when all is well, and after a failure; never more often than watchLeast.
const (
	watchEvery = time.Second
	watchFirst = 100 * time.Millisecond
	watchLeast = 50 * time.Millisecond
)

// watchLoop keeps the view of the fleet, the identities of its primaries and the secret up to date.
func (s *Store) watchLoop(ctx context.Context, first error) {
	wait, last, well := watchFirst, "", first == nil
	if !well {
		last = first.Error()
	}
	for {
		pause := watchEvery
		if !well {
			pause, wait = wait, min(2*wait, watchEvery)
		}
		if !s.rest(ctx, pause) {
			return
		}
		err := s.watch(ctx)
		if well = err == nil; well {
			wait = watchFirst
		}
		last = s.report(ctx, err, last)
		s.guard.recent.trim()
	}
}

// rest waits for the next look; false: there is none.
func (s *Store) rest(ctx context.Context, pause time.Duration) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(watchLeast):
	}
	select {
	case <-ctx.Done():
		return false
	case <-s.wake:
	case <-time.After(pause - watchLeast):
	}
	return true
}

// report logs a failure when it begins, changes or ends.
func (s *Store) report(ctx context.Context, err error, last string) string {
	now := ""
	if err != nil {
		now = err.Error()
	}
	switch {
	case now == last || ctx.Err() != nil:
	case err == nil:
		s.log.Info("redis can be used again")
	case isFatal(err) || errors.Is(err, errOtherSecret):
		s.log.Error("redis can't be used", "error", err)
	case last == "":
		s.log.Warn("redis can't be used in part or at all", "error", err)
	}
	return now
}

// watch looks at everything once.
func (s *Store) watch(ctx context.Context) error {
	err := s.scout.discover(ctx)
	var wait sync.WaitGroup
	primaries := s.fleet.primaries()
	errs := make([]error, len(primaries))
	for i, n := range primaries {
		wait.Go(func() { errs[i] = s.probe(ctx, n) })
	}
	wait.Wait()
	if err = errors.Join(append(errs, err)...); isFatal(err) {
		return err
	}
	for _, n := range primaries {
		if seen := n.seen.Load(); seen != nil && !n.down.Load() && len(seen.fields) > 0 {
			s.warn(ctx, n, seen)
		}
	}
	return errors.Join(err, s.secure(ctx))
}

// probe asks a server who it is and whether it is fit, and gives it the scripts if it is new.
func (s *Store) probe(ctx context.Context, n *node) error {
	before := n.seen.Load()
	seen, err := look(ctx, n.client, sectionsOfWatch)
	if err != nil {
		n.down.Store(true)
		if says(err, "NOAUTH") || says(err, "WRONGPASS") || says(err, "NOPERM") || says(err, "ERR invalid password") {
			return fatal("%s: set username and password, and allow the user INFO, EVAL, SCRIPT and WAIT: %w", n.addr, err)
		}
		return fmt.Errorf("%w: %s: %w", errUnsent, n.addr, err)
	}
	n.learn(seen)
	if err := s.check(n, seen.fields); err != nil {
		n.unfit.Store(&err)
		return err
	}
	n.unfit.Store(nil)
	if !seen.primary {
		return fmt.Errorf("%s: %w", n.addr, errReplica)
	}
	if before == nil || before.identity != seen.identity || n.bare.Load() {
		n.bare.Store(!s.preload(ctx, n))
	}
	for _, b := range s.fleet.bucketsOf(n) {
		s.notice(n, b, &seen.identity)
	}
	return nil
}

// preload spares the first steps a second round trip.
func (s *Store) preload(ctx context.Context, n *node) bool {
	ctx, cancel := within(ctx, probeTimeout)
	defer cancel()
	pipe := n.client.Pipeline()
	for _, sc := range s.scripts.all() {
		pipe.ScriptLoad(ctx, sc.text)
	}
	_, err := pipe.Exec(ctx)
	return err == nil
}
