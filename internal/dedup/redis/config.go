package redis

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/oncegate/oncegate/internal/redisconn"
)

// Config says where Redis is.
type Config struct {
	redisconn.Server
	Prefix       string // of all names in Redis
	WaitReplicas int    // replicas that must have a claim or a result before it counts
}

// Deps are what a store needs besides. All may be nil.
type Deps struct {
	Log      *slog.Logger
	Recorder Recorder
}

// Recorder hears what the store does. It must not block.
type Recorder interface {
	// StoreTime is told of every step: its name, how long it took, whether it failed.
	StoreTime(op string, d time.Duration, failed bool)
	// ClaimsLost is told how many recent claims and results a new primary did not have.
	ClaimsLost(n int)
	// PrimaryChanged is told when another primary serves records than before, or the same one with other data.
	PrimaryChanged()
}

type silent struct{}

func (silent) StoreTime(string, time.Duration, bool) {}
func (silent) ClaimsLost(int)                        {}
func (silent) PrimaryChanged()                       {}

func (c Config) validate() error {
	if err := c.Server.Validate(); err != nil {
		return err
	}
	if c.WaitReplicas < 0 {
		return errors.New("redis: wait_replicas must not be negative")
	}
	return nil
}

// The bounds of a call. Its context may only make them shorter.
const (
	dialTimeout  = time.Second
	replyTimeout = 2 * time.Second
	waitTimeout  = time.Second // of WAIT, within replyTimeout
	poolTimeout  = time.Second
	probeTimeout = time.Second
	poolSize     = 128 // connections to each primary
	minIdle      = 4
)

// within bounds a step of the background.
func within(ctx context.Context, d time.Duration) (context.Context, context.CancelFunc) {
	return context.WithTimeout(ctx, d)
}

func bounds() redisconn.Bounds {
	return redisconn.Bounds{Dial: dialTimeout, Read: replyTimeout, Write: dialTimeout, Pool: poolTimeout, Connections: 2}
}
