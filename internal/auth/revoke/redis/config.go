package redis

import (
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"
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

// The modes.
const (
	Single   = "single"
	Sentinel = "sentinel"
	Cluster  = "cluster"
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
	switch {
	case c.Mode != Single && c.Mode != Sentinel && c.Mode != Cluster:
		return fmt.Errorf("redis: mode %q is none of single, sentinel, cluster", c.Mode)
	case len(c.Addresses) == 0:
		return errors.New("redis: no address is given")
	case c.Mode == Single && len(c.Addresses) > 1:
		return errors.New("redis: mode single takes one address: with several, set mode to sentinel or cluster")
	case c.Mode == Sentinel && c.Master == "":
		return errors.New("redis: mode sentinel needs master, the name that the sentinels know the primary by")
	case c.Mode == Cluster && c.Database != 0:
		return errors.New("redis: a cluster has only database 0")
	case c.Prefix == "" || strings.ContainsAny(c.Prefix, "{}*?[]\\ \t\r\n"):
		return errors.New("redis: the key prefix must not be empty and must not contain braces, spaces or any of *?[]\\")
	}
	if c.Max == 0 {
		c.Max = usually
	}
	return nil
}
