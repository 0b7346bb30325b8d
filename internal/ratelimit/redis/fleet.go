package redis

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"sync/atomic"
	"time"

	goredis "github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"
)

// fleet knows the servers: one, or the one that the sentinels call the primary, or those of a cluster.
type fleet struct {
	source  *Source
	single  atomic.Pointer[node]
	cluster *cluster // nil: not a cluster
}

func newFleet(s *Source) *fleet {
	f := &fleet{source: s}
	if s.cfg.Mode == Cluster {
		f.cluster = newCluster(s)
	}
	return f
}

// find does once what has to be known before place can tell anything.
func (f *fleet) find(ctx context.Context) error {
	cfg := f.source.cfg
	switch {
	case f.cluster != nil:
		return f.cluster.find(ctx)
	case f.single.Load() != nil:
		return nil
	case cfg.Mode == Sentinel:
		client, err := dialSentinels(ctx, cfg)
		if err == nil {
			f.single.Store(newNode(f.source, client))
		}
		return err
	}
	f.single.Store(newNode(f.source, goredis.NewClient(clientOptions(cfg, cfg.Addresses[0]))))
	return nil
}

// place is the server of a key; nil when none is known. It does not wait.
func (f *fleet) place(key string) *node {
	if f.cluster != nil {
		return f.cluster.place(key)
	}
	return f.single.Load()
}

// send gives a call to the server of its key.
func (f *fleet) send(c *call) {
	if n := f.place(c.key); n != nil {
		n.send(c)
		return
	}
	go c.done(nil, ErrDown)
}

// redirect sends a call to where a cluster says that it belongs.
func (f *fleet) redirect(c *call, addr string) {
	if f.cluster != nil {
		f.cluster.redirect(c, addr)
		return
	}
	c.done(nil, fmt.Errorf("redis: a node of a cluster sends a call to %s: set mode to cluster", addr))
}

// refresh has the view renewed in the background. A new connection to what sentinels watch asks them anyway.
func (f *fleet) refresh() {
	if f.cluster != nil {
		f.cluster.refresh()
	}
}

func (f *fleet) all() []*node {
	if f.cluster != nil {
		return f.cluster.all()
	}
	if n := f.single.Load(); n != nil {
		return []*node{n}
	}
	return nil
}

func (f *fleet) close() {
	for _, n := range f.all() {
		n.close()
	}
}

// disconnect ends the connections.
func (f *fleet) disconnect() {
	if f.cluster != nil {
		_ = f.cluster.client.Close()
	}
	if n := f.single.Load(); n != nil {
		_ = n.client.Close()
	}
}

// clientOptions are for a client that never repeats a command by itself. How long a call may take is its context's matter.
func clientOptions(cfg Config, addr string) *goredis.Options {
	return &goredis.Options{
		Addr: addr, Username: cfg.Username, Password: cfg.Password, DB: cfg.Database, ClientName: "oncegate",
		Protocol: 2, DisableIdentity: true, MaxRetries: -1, DialerRetries: 1, ContextTimeoutEnabled: true,
		DialTimeout: dialTimeout, PoolTimeout: cfg.patience,
		ReadTimeout: max(replyTimeout, cfg.patience), WriteTimeout: max(replyTimeout, cfg.patience),
		PoolSize: poolSize, PipelinePoolSize: -1, ConnMaxIdleTime: 5 * time.Minute, Dialer: dialer(cfg.TLS),
		MaintNotificationsConfig: &maintnotifications.Config{Mode: maintnotifications.ModeDisabled},
	}
}

// dialSentinels makes a client that asks the sentinels for the primary before each connection. It asks them itself first, for
// whether they want the password and know the name.
func dialSentinels(ctx context.Context, cfg Config) (*goredis.Client, error) {
	login, err := askSentinels(ctx, cfg)
	if err != nil {
		return nil, err
	}
	o := clientOptions(cfg, "")
	opts := &goredis.FailoverOptions{
		MasterName: cfg.Master, SentinelAddrs: cfg.Addresses, ClientName: o.ClientName, Dialer: o.Dialer,
		Protocol: o.Protocol, Username: o.Username, Password: o.Password, DB: o.DB, MaxRetries: o.MaxRetries,
		DialTimeout: o.DialTimeout, DialerRetries: o.DialerRetries, ReadTimeout: o.ReadTimeout, WriteTimeout: o.WriteTimeout,
		ContextTimeoutEnabled: true, PoolTimeout: o.PoolTimeout, PoolSize: o.PoolSize, PipelinePoolSize: -1,
		ConnMaxIdleTime: o.ConnMaxIdleTime, DisableIdentity: true,
	}
	if login {
		opts.SentinelUsername, opts.SentinelPassword = cfg.Username, cfg.Password
	}
	return goredis.NewFailoverClient(opts), nil
}

func askSentinels(ctx context.Context, cfg Config) (login bool, err error) {
	var errs []error
	unfit := 0
	for _, addr := range cfg.Addresses {
		err := askSentinel(ctx, cfg, addr, false)
		if login = says(err, "NOAUTH") && cfg.Password != ""; login {
			err = askSentinel(ctx, cfg, addr, true)
		}
		if err == nil {
			return login, nil
		}
		var reply goredis.Error
		if errors.Is(err, errFatal) || errors.As(err, &reply) {
			unfit++
		}
		errs = append(errs, fmt.Errorf("%s: %w", addr, err))
	}
	if unfit == len(cfg.Addresses) {
		return false, fatal("no sentinel knows the primary %q: %w", cfg.Master, errors.Join(errs...))
	}
	return false, fmt.Errorf("redis: no sentinel answers: %w", errors.Join(errs...))
}

func askSentinel(ctx context.Context, cfg Config, addr string, login bool) error {
	opts := clientOptions(cfg, addr)
	opts.DB = 0
	if !login {
		opts.Username, opts.Password = "", ""
	}
	client := goredis.NewSentinelClient(opts)
	defer client.Close()
	_, err := client.GetMasterAddrByName(ctx, cfg.Master).Result()
	if errors.Is(err, goredis.Nil) {
		return fatal("it does not know that name")
	}
	return err
}

// dialer keeps the handshake within the time to dial.
func dialer(config *tls.Config) func(context.Context, string, string) (net.Conn, error) {
	plain := &net.Dialer{Timeout: dialTimeout, KeepAlive: 15 * time.Second}
	return func(ctx context.Context, network, addr string) (net.Conn, error) {
		ctx, cancel := context.WithTimeout(ctx, dialTimeout)
		defer cancel()
		if config == nil {
			return plain.DialContext(ctx, network, addr)
		}
		return (&tls.Dialer{NetDialer: plain, Config: config}).DialContext(ctx, network, addr)
	}
}
