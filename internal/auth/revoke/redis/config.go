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
	Max    int    // entries; 0: 100,000
}

// Deps are what a store needs besides. All may be nil.
type Deps struct {
	Log *slog.Logger
}

const (
	usually     = 100_000
	pageSize    = 500
	dialTimeout = 500 * time.Millisecond
	callTimeout = time.Second // and never later than a call's context
	startTime   = 2 * time.Second
	poolSize    = 4096 // never reached: after as many failures to dial go-redis tries only once a second
)

func (c *Config) validate() error {
	if err := c.Server.Validate(); err != nil {
		return err
	}
	if c.Prefix == "" || strings.ContainsAny(c.Prefix, "{}*?[]\\ \t\r\n") {
		return errors.New("redis: the key prefix must not be empty and must not contain braces, spaces or any of *?[]\\")
	}
	if c.Max == 0 {
		c.Max = usually
	}
	return nil
}

func bounds() redisconn.Bounds {
	return redisconn.Bounds{Dial: dialTimeout, Read: callTimeout, Write: callTimeout, Pool: callTimeout, Connections: poolSize}
}
