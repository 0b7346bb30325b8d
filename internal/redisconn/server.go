// Package redisconn makes the clients of all that the gateway keeps in Redis.
//
// It promises clients that do nothing unasked: no command is repeated, no redirection followed, no protocol negotiated, and
// every wait has the bound that its user gives. It does not promise that a server is there: that is known with the first call,
// but for sentinels, which are asked at once. It keeps no state.
package redisconn

import (
	"crypto/tls"
	"errors"
	"fmt"
	"time"
)

// The modes.
const (
	Single   = "single"
	Sentinel = "sentinel"
	Cluster  = "cluster"
)

// ErrFatal marks what waiting doesn't heal.
var ErrFatal = errors.New("redis")

// Server says where Redis is.
type Server struct {
	Mode      string   // single, sentinel or cluster
	Addresses []string // host:port of the server, of the sentinels, or of some of the cluster's nodes
	Master    string   // sentinel: the name under which the primary is watched
	Username  string
	Password  string // sentinels that ask for one get the same
	Database  int    // not with a cluster
	TLS       *tls.Config
}

// Bounds are what a client may take. How long a call may take in all is its context's matter.
type Bounds struct {
	Dial        time.Duration // with the handshake of TLS
	Read, Write time.Duration // of one piece
	Pool        time.Duration // for a connection to become free
	Connections int           // to one server
}

// Validate gives what can't be right wherever the server is.
func (s Server) Validate() error {
	switch {
	case s.Mode != Single && s.Mode != Sentinel && s.Mode != Cluster:
		return fmt.Errorf("redis: mode %q is none of single, sentinel, cluster", s.Mode)
	case len(s.Addresses) == 0:
		return errors.New("redis: no address is given")
	case s.Mode == Single && len(s.Addresses) > 1:
		return errors.New("redis: mode single takes one address: with several, set mode to sentinel or cluster")
	case s.Mode == Sentinel && s.Master == "":
		return errors.New("redis: mode sentinel needs master, the name that the sentinels know the primary by")
	case s.Mode == Cluster && s.Database != 0:
		return errors.New("redis: a cluster has only database 0")
	}
	return nil
}
