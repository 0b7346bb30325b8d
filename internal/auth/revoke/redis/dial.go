package redis

import (
	"context"
	"errors"
	"fmt"

	goredis "github.com/redis/go-redis/v9"

	"github.com/oncegate/oncegate/internal/redisconn"
)

// Check judges a Config for others who Dial, and asks the server. One that can't be reached is no error; a wrong password or
// mode is.
func Check(ctx context.Context, cfg *Config) error {
	s, err := Open(ctx, *cfg, Deps{})
	if err != nil {
		return err
	}
	return s.Close()
}

// Dial makes a client that repeats nothing by itself, for what else a fleet keeps; how long a call may take is its context's
// matter. cfg has passed Check.
func Dial(ctx context.Context, cfg Config) (goredis.UniversalClient, error) {
	return cfg.Connect(ctx, bounds())
}

// errFatal marks what waiting doesn't heal.
var errFatal = redisconn.ErrFatal

// blame turns an answer that no waiting changes into one that says what to change.
func blame(err error) error {
	switch {
	case err == nil || errors.Is(err, errFatal):
		return err
	case redisconn.Says(err, "WRONGPASS"), redisconn.Says(err, "NOAUTH"), redisconn.Says(err, "NOPERM"), redisconn.Says(err, "ERR AUTH"), redisconn.Says(err, "ERR Client sent AUTH, but no password is set"):
		return fmt.Errorf("%w: check username and password, and what the user may do: %w", errFatal, err)
	case redisconn.Says(err, "ERR This instance has cluster support disabled"):
		return fmt.Errorf("%w: the server is not a node of a cluster: set mode to single or sentinel: %w", errFatal, err)
	}
	return err
}
