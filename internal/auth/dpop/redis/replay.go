// Package redis remembers the proofs that a fleet has taken.
//
// It promises that of all gateways one takes a proof: First is one command that Redis executes as a whole (SET NX), sent once,
// kept for as long as a proof of that iat is taken. It does not promise that a replica which becomes primary knows the proofs
// of the last moment, nor that an emptied Redis does. When Redis can't be asked, First is an error and the proof is not taken.
package redis

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"github.com/oncegate/oncegate/internal/auth/dpop"
	"github.com/oncegate/oncegate/internal/auth/revoke/redis"
)

// slack is what a proof is kept longer, for clocks of gateways that differ.
const slack = 5 * time.Second

var errClosed = errors.New("redis: the store of proofs is closed")

// Replays is a dpop.Replays in Redis.
type Replays struct {
	cfg  redis.Config
	log  *slog.Logger
	stem string
	down atomic.Bool // the last call failed

	mu     sync.Mutex
	client goredis.UniversalClient // nil until the sentinels have answered
	closed bool
}

var _ dpop.Replays = (*Replays)(nil)

// Open makes a store and looks for Redis. One that can't be reached is no error: it is asked again with every proof. A wrong
// password or mode is.
func Open(ctx context.Context, cfg redis.Config, log *slog.Logger) (*Replays, error) {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	if err := redis.Check(ctx, &cfg); err != nil {
		return nil, err
	}
	return &Replays{cfg: cfg, log: log, stem: cfg.Prefix + ":dp1:"}, nil
}

func (r *Replays) connect(ctx context.Context) (goredis.UniversalClient, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return nil, errClosed
	}
	if r.client == nil {
		client, err := redis.Dial(ctx, r.cfg)
		if err != nil {
			return nil, err
		}
		r.client = client
	}
	return r.client, nil
}

// First implements dpop.Replays.
func (r *Replays) First(ctx context.Context, p dpop.Proof) (bool, error) {
	fresh, err := r.set(ctx, p)
	if failed := err != nil; r.down.Swap(failed) != failed {
		if failed {
			r.log.Warn("redis does not remember proofs: requests with one are refused", "error", err.Error())
		} else {
			r.log.Info("redis remembers proofs again")
		}
	}
	return fresh, err
}

func (r *Replays) set(ctx context.Context, p dpop.Proof) (bool, error) {
	client, err := r.connect(ctx)
	if err != nil {
		return false, err
	}
	left := p.Ends.Sub(p.Now) + slack
	err = client.SetArgs(ctx, r.stem+hex.EncodeToString(p.ID[:]), "", goredis.SetArgs{Mode: "NX", TTL: left}).Err()
	switch {
	case errors.Is(err, goredis.Nil):
		return false, nil
	case err != nil:
		return false, fmt.Errorf("redis: %w", err)
	}
	return true, nil
}

// Close ends the connections.
func (r *Replays) Close() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed = true; r.client == nil {
		return nil
	}
	return r.client.Close()
}
