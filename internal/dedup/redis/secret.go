package redis

import (
	"context"
	"crypto/rand"
	_ "embed"
	"errors"
	"fmt"
	"sync/atomic"

	goredis "github.com/redis/go-redis/v9"
)

//go:embed lua/secret.lua
var secretSource string

// keeper holds the secret that all gateways share, and knows which data it was in.
type keeper struct {
	proposal   [32]byte
	held       atomic.Pointer[[32]byte] // nil: not known yet
	unproven   bool                     // the watcher's: we made it, and replicas may not have it
	generation string                   // the watcher's: random, made anew by who puts the secret back into a Redis that lost it
}

func newKeeper() *keeper {
	k := &keeper{}
	rand.Read(k.proposal[:])
	return k
}

var errOtherSecret = errors.New("redis holds another secret than this gateway has used: its records would not be found again; " +
	"restart all gateways if Redis was replaced on purpose, or give this fleet a prefix of its own")

// Secret implements dedup.Secrets.
func (s *Store) Secret(context.Context) ([32]byte, error) {
	if err := s.ready(); err != nil {
		return [32]byte{}, err
	}
	held := s.keeper.held.Load()
	if held == nil {
		return [32]byte{}, refuse("%w", errNotReached)
	}
	return *held, nil
}

// marks are what Redis holds for all gateways besides the records. A text that is not there is empty.
type marks struct {
	secret, generation string
	erased             []goredis.Z
}

// readMarks takes one round trip.
func (s *Store) readMarks(ctx context.Context, n *node) (m marks, err error) {
	pipe := n.client.Pipeline()
	secret, generation := pipe.Get(ctx, s.names.secret()), pipe.Get(ctx, s.names.generation())
	erased := pipe.ZRangeWithScores(ctx, s.names.erased(), 0, -1)
	if _, err := pipe.Exec(ctx); err != nil && !errors.Is(err, goredis.Nil) {
		return m, err
	}
	for _, cmd := range []goredis.Cmder{secret, generation, erased} {
		if err := cmd.Err(); err != nil && !errors.Is(err, goredis.Nil) {
			return m, err
		}
	}
	return marks{secret.Val(), generation.Val(), erased.Val()}, nil
}

// secure makes sure that Redis holds our secret, and gives it back to a Redis that lost it. Another one is never taken over. A
// generation that is not the one of before tells that Redis lost its data, and that another gateway noticed first.
func (s *Store) secure(ctx context.Context) error {
	n := s.fleet.keeper()
	if n == nil {
		return errNoPrimary
	}
	ctx, cancel := within(ctx, probeTimeout+waitTimeout)
	defer cancel()
	found, err := s.readMarks(ctx, n)
	if err != nil {
		return err
	}
	s.heard(found.erased)
	held := s.keeper.held.Load()
	if held != nil && (found.secret == "" || found.secret == string(held[:]) && found.generation != s.keeper.generation) {
		s.lost(n)
	}
	if found.secret == "" || found.generation == "" || s.keeper.unproven {
		if found, err = s.propose(ctx, n, held); err != nil {
			return err
		}
	}
	if err = s.compare(found.secret, held); err == nil {
		s.keeper.generation = found.generation
	}
	return err
}

// lost has everything asserted that this gateway did lately, on all servers: who empties one of them may have emptied all.
func (s *Store) lost(n *node) {
	s.log.Error("redis lost its data: this gateway's recent claims and results are written again", "server", n.addr)
	for _, p := range s.fleet.primaries() {
		if seen := p.seen.Load(); seen != nil {
			s.changed(p, s.fleet.bucketsOf(p), &seen.identity, true)
		}
	}
}

func (s *Store) propose(ctx context.Context, n *node, held *[32]byte) (found marks, err error) {
	if held == nil {
		held = &s.keeper.proposal
	}
	value, acked, err := n.send(ctx, []any{"eval", secretSource, 2, s.names.secret(), s.names.generation(), held[:], rand.Text()},
		s.cfg.WaitReplicas, false)
	if err != nil {
		return found, err
	}
	r := newRow(value, 3)
	found.secret, found.generation = r.text(), r.text()
	made := r.int() == 1
	if r.bad {
		return found, errStrange("secret", value)
	}
	s.keeper.unproven = (made || s.keeper.unproven) && acked < s.cfg.WaitReplicas
	if s.keeper.unproven && s.keeper.held.Load() == nil { // a failover could give the fleet two secrets
		return found, fmt.Errorf("the new secret: %w", errShort)
	}
	return found, nil
}

func (s *Store) compare(text string, held *[32]byte) error {
	if len(text) != 32 {
		return fatal("%s is not a secret of this gateway: set prefix to one that nobody else uses", s.names.secret())
	}
	now := [32]byte([]byte(text))
	if held != nil && *held != now {
		s.refuseAll(errOtherSecret)
		return errOtherSecret
	}
	s.keeper.held.CompareAndSwap(nil, &now)
	if !s.closed.Load() {
		s.refusal.Store(nil)
	}
	return nil
}
