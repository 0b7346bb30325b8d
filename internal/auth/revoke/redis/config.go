package redis

import (
	"crypto/tls"
	"errors"
	"log/slog"
	"strings"
	"time"

	"github.com/oncegate/oncegate/internal/redisconn"
)

// Config says where Redis is.
type Config struct {
	Mode      string   // single, sentinel or cluster
	Addresses []string // host:port of the server, of the sentinels, or of some of the cluster's nodes
	Master    string   // sentinel: the name under which the primary is watched
	Username  string
	Password  string // sentinels that ask for one get the same
	Database  int    // not with a cluster
	TLS       *tls.Config
	Prefix    string // of all names in Redis
	Max       int    // entries; 0: 100,000
}

func (c Config) server() redisconn.Server {
	return redisconn.Server{Mode: c.Mode, Addresses: c.Addresses, Master: c.Master, Username: c.Username, Password: c.Password, Database: c.Database, TLS: c.TLS}
}

// The modes.
const (
	Single   = redisconn.Single
	Sentinel = redisconn.Sentinel
	Cluster  = redisconn.Cluster
)

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
	if err := c.server().Validate(); err != nil {
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
