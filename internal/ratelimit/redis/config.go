package redis

import (
	"errors"
	"log/slog"
	"strings"
	"time"

	"github.com/oncegate/oncegate/internal/redisconn"
)

// Config says where Redis is.
type Config struct {
	redisconn.Server
	Prefix string // of all names in Redis

	patience time.Duration // of tests; 0 is 20 ms
}

// Deps are what a source needs besides. All may be nil.
type Deps struct {
	Log      *slog.Logger
	Recorder Recorder
}

// Recorder hears what the source does. It must not block.
type Recorder interface {
	// StoreState is told when a server is no longer asked, and when it is again.
	StoreState(server string, down bool)
	// StoreCalls is told of every round trip: how many calls it held, how they ended (ok, failed, refused), how long it took.
	StoreCalls(result string, n int, took time.Duration)
}

type silent struct{}

func (silent) StoreState(string, bool)               {}
func (silent) StoreCalls(string, int, time.Duration) {}

func (c Config) validate() error {
	if err := c.Server.Validate(); err != nil {
		return err
	}
	if c.Prefix == "" || strings.ContainsAny(c.Prefix, "{}*?[]\\ \t\r\n") {
		return errors.New("redis: the key prefix must not be empty and must not contain braces, spaces or any of *?[]\\")
	}
	return nil
}

// The bounds of what is done for requests.
const (
	patience    = 20 * time.Millisecond // from a call's beginning until its caller knows
	gather      = 200 * time.Microsecond
	batchSize   = 64
	maxFlying   = 4    // pipelines under way to one server
	queueSize   = 4096 // calls that wait for one
	maxSeats    = 1 << 20
	dialTimeout = 100 * time.Millisecond
)

// The bounds of what is done in the background.
const (
	replyTimeout = 250 * time.Millisecond // and never later than a call's own time
	startTime    = 2 * time.Second
	poolSize     = 4096 // never reached: after as many failures to dial go-redis tries only once a second
	seatLife     = 10 * time.Second
	seatBeat     = 3 * time.Second
	aliveLife    = 10 * time.Second
	firstBeat    = 250 * time.Millisecond // doubled until
	aliveBeat    = 2 * time.Second
	sureAfter    = 1500 * time.Millisecond // is how many gateways there are
	probeFirst   = 25 * time.Millisecond   // doubled until
	probeEvery   = 500 * time.Millisecond
	probeAgain   = 10 * time.Millisecond // after a good one
	goodProbes   = 3
)

// bounds: a call's context ends it earlier.
func (c Config) bounds() redisconn.Bounds {
	reply := max(replyTimeout, c.patience)
	return redisconn.Bounds{Dial: dialTimeout, Read: reply, Write: reply, Pool: c.patience, Connections: poolSize}
}
