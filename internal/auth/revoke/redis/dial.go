package redis

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"strings"
	"time"

	goredis "github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"
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
func Dial(ctx context.Context, cfg Config) (goredis.UniversalClient, error) { return dial(ctx, cfg) }

// dial makes a client; only for sentinels something has to be asked first.
func dial(ctx context.Context, cfg Config) (goredis.UniversalClient, error) {
	o := options(cfg, cfg.Addresses[0])
	switch cfg.Mode {
	case Sentinel:
		return dialSentinels(ctx, cfg)
	case Cluster:
		return goredis.NewClusterClient(&goredis.ClusterOptions{
			Addrs: cfg.Addresses, ClientName: o.ClientName, Dialer: o.Dialer, Protocol: o.Protocol,
			Username: o.Username, Password: o.Password, MaxRetries: -1, MaxRedirects: -1,
			DialTimeout: o.DialTimeout, DialerRetries: o.DialerRetries, ReadTimeout: o.ReadTimeout, WriteTimeout: o.WriteTimeout,
			ContextTimeoutEnabled: true, PoolTimeout: o.PoolTimeout, PoolSize: o.PoolSize, PipelinePoolSize: -1,
			ConnMaxIdleTime: o.ConnMaxIdleTime, DisableIdentity: true, MaintNotificationsConfig: o.MaintNotificationsConfig,
			ClusterStateReloadInterval: 10 * time.Second,
		}), nil
	}
	return goredis.NewClient(o), nil
}

// options are for a client that never repeats a command by itself. How long a call may take is its context's matter.
func options(cfg Config, addr string) *goredis.Options {
	return &goredis.Options{
		Addr: addr, Username: cfg.Username, Password: cfg.Password, DB: cfg.Database, ClientName: "oncegate",
		Protocol: 2, DisableIdentity: true, MaxRetries: -1, DialerRetries: 1, ContextTimeoutEnabled: true,
		DialTimeout: dialTimeout, PoolTimeout: callTimeout, ReadTimeout: callTimeout, WriteTimeout: callTimeout,
		PoolSize: poolSize, PipelinePoolSize: -1, ConnMaxIdleTime: 5 * time.Minute, Dialer: dialer(cfg.TLS),
		MaintNotificationsConfig: &maintnotifications.Config{Mode: maintnotifications.ModeDisabled},
	}
}

// dialSentinels makes a client that asks the sentinels for the primary before each connection. It asks them itself first, for
// whether they want the password and know the name.
func dialSentinels(ctx context.Context, cfg Config) (goredis.UniversalClient, error) {
	login, err := askSentinels(ctx, cfg)
	if err != nil {
		return nil, err
	}
	o := options(cfg, "")
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
		if errors.As(err, &reply) {
			unfit++
		}
		errs = append(errs, fmt.Errorf("%s: %w", addr, err))
	}
	if unfit == len(cfg.Addresses) {
		return false, fmt.Errorf("%w: no sentinel knows the primary %q: %w", errFatal, cfg.Master, errors.Join(errs...))
	}
	return false, fmt.Errorf("redis: no sentinel answers: %w", errors.Join(errs...))
}

func askSentinel(ctx context.Context, cfg Config, addr string, login bool) error {
	opts := options(cfg, addr)
	opts.DB = 0
	if !login {
		opts.Username, opts.Password = "", ""
	}
	client := goredis.NewSentinelClient(opts)
	defer client.Close()
	return client.GetMasterAddrByName(ctx, cfg.Master).Err()
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

// errFatal marks what waiting doesn't heal.
var errFatal = errors.New("redis")

// blame turns an answer that no waiting changes into one that says what to change.
func blame(err error) error {
	switch {
	case err == nil || errors.Is(err, errFatal):
		return err
	case says(err, "WRONGPASS"), says(err, "NOAUTH"), says(err, "NOPERM"), says(err, "ERR AUTH"), says(err, "ERR Client sent AUTH, but no password is set"):
		return fmt.Errorf("%w: check username and password, and what the user may do: %w", errFatal, err)
	case says(err, "ERR This instance has cluster support disabled"):
		return fmt.Errorf("%w: the server is not a node of a cluster: set mode to single or sentinel: %w", errFatal, err)
	}
	return err
}

// says reports that Redis answered with an error that begins so.
func says(err error, begin string) bool {
	var reply goredis.Error
	return errors.As(err, &reply) && strings.HasPrefix(reply.Error(), begin)
}
