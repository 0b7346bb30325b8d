package redisconn

import (
	"context"
	"crypto/tls"
	"net"
	"time"

	goredis "github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"
)

// Connect makes a client for the server's mode. Only sentinels are asked something first; see Sentinels.
func (s Server) Connect(ctx context.Context, b Bounds) (goredis.UniversalClient, error) {
	switch s.Mode {
	case Sentinel:
		client, err := s.Sentinels(ctx, b)
		if err != nil {
			return nil, err
		}
		return client, nil
	case Cluster:
		return s.Cluster(b), nil
	}
	return goredis.NewClient(s.Options(s.Addresses[0], b)), nil
}

// Options are for a client of the server at addr that never repeats a command by itself.
func (s Server) Options(addr string, b Bounds) *goredis.Options {
	return &goredis.Options{
		Addr: addr, Username: s.Username, Password: s.Password, DB: s.Database, ClientName: "oncegate",
		Protocol: 2, DisableIdentity: true, MaxRetries: -1, DialerRetries: 1, ContextTimeoutEnabled: true,
		DialTimeout: b.Dial, ReadTimeout: b.Read, WriteTimeout: b.Write, PoolTimeout: b.Pool,
		PoolSize: b.Connections, PipelinePoolSize: -1, ConnMaxIdleTime: 5 * time.Minute, Dialer: dialer(s.TLS, b.Dial),
		MaintNotificationsConfig: &maintnotifications.Config{Mode: maintnotifications.ModeDisabled},
	}
}

// Cluster makes a client of a cluster that follows no redirection by itself.
func (s Server) Cluster(b Bounds) *goredis.ClusterClient {
	o := s.Options("", b)
	return goredis.NewClusterClient(&goredis.ClusterOptions{
		Addrs: s.Addresses, ClientName: o.ClientName, Dialer: o.Dialer, Protocol: o.Protocol,
		Username: o.Username, Password: o.Password, MaxRetries: -1, MaxRedirects: -1,
		DialTimeout: o.DialTimeout, DialerRetries: o.DialerRetries, ReadTimeout: o.ReadTimeout, WriteTimeout: o.WriteTimeout,
		ContextTimeoutEnabled: true, PoolTimeout: o.PoolTimeout, PoolSize: o.PoolSize, PipelinePoolSize: -1,
		ConnMaxIdleTime: o.ConnMaxIdleTime, DisableIdentity: true, MaintNotificationsConfig: o.MaintNotificationsConfig,
		ClusterStateReloadInterval: 10 * time.Second,
	})
}

// dialer keeps the handshake within the time to dial.
func dialer(config *tls.Config, within time.Duration) func(context.Context, string, string) (net.Conn, error) {
	plain := &net.Dialer{Timeout: within, KeepAlive: 15 * time.Second}
	return func(ctx context.Context, network, addr string) (net.Conn, error) {
		ctx, cancel := context.WithTimeout(ctx, within)
		defer cancel()
		if config == nil {
			return plain.DialContext(ctx, network, addr)
		}
		return (&tls.Dialer{NetDialer: plain, Config: config}).DialContext(ctx, network, addr)
	}
}
