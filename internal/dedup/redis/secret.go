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

// keeper holds the secret that all gateways share.
type keeper struct {
	proposal [32]byte
	held     atomic.Pointer[[32]byte] // nil: not known yet
	unproven bool                     // the watcher's: we made it, and replicas may not have it
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

// secure makes sure that Redis holds our secret, and gives it back to a Redis that lost it. Another one is never taken over.
func (s *Store) secure(ctx context.Context) error {
	n := s.fleet.keeper()
	if n == nil {
		return errNoPrimary
	}
	ctx, cancel := within(ctx, probeTimeout+waitTimeout)
	defer cancel()
	text, err := n.client.Get(ctx, s.names.secret()).Result()
	held := s.keeper.held.Load()
	if gone := errors.Is(err, goredis.Nil); gone || err == nil && s.keeper.unproven {
		if gone && held != nil {
			s.log.Error("redis lost its data: its secret and this gateway's recent claims and results are written again", "server", n.addr)
			s.changed(n, s.fleet.bucketsOf(n), &n.seen.Load().identity, true)
		}
		text, err = s.propose(ctx, n, held)
	}
	if err != nil {
		return err
	}
	return s.compare(text, held)
}

func (s *Store) propose(ctx context.Context, n *node, held *[32]byte) (string, error) {
	if held == nil {
		held = &s.keeper.proposal
	}
	value, acked, err := n.send(ctx, []any{"eval", secretSource, 1, s.names.secret(), held[:]}, s.cfg.WaitReplicas, false)
	if err != nil {
		return "", err
	}
	r := newRow(value, 2)
	text, made := r.text(), r.int() == 1
	if r.bad {
		return "", errStrange("secret", value)
	}
	s.keeper.unproven = (made || s.keeper.unproven) && acked < s.cfg.WaitReplicas
	if s.keeper.unproven && s.keeper.held.Load() == nil { // a failover could give the fleet two secrets
		return "", fmt.Errorf("the new secret: %w", errShort)
	}
	return text, nil
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
