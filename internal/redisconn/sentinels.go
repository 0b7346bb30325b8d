package redisconn

import (
	"context"
	"errors"
	"fmt"
	"strings"

	goredis "github.com/redis/go-redis/v9"
)

// Sentinels makes a client that asks the sentinels for the primary before each connection. It asks them itself first, for
// whether they want the password and know the name; when none does the error is ErrFatal.
func (s Server) Sentinels(ctx context.Context, b Bounds) (*goredis.Client, error) {
	login, err := s.askSentinels(ctx, b)
	if err != nil {
		return nil, err
	}
	o := s.Options("", b)
	opts := &goredis.FailoverOptions{
		MasterName: s.Master, SentinelAddrs: s.Addresses, ClientName: o.ClientName, Dialer: o.Dialer,
		Protocol: o.Protocol, Username: o.Username, Password: o.Password, DB: o.DB, MaxRetries: o.MaxRetries,
		DialTimeout: o.DialTimeout, DialerRetries: o.DialerRetries, ReadTimeout: o.ReadTimeout, WriteTimeout: o.WriteTimeout,
		ContextTimeoutEnabled: true, PoolTimeout: o.PoolTimeout, PoolSize: o.PoolSize, PipelinePoolSize: -1,
		ConnMaxIdleTime: o.ConnMaxIdleTime, DisableIdentity: true,
	}
	if login {
		opts.SentinelUsername, opts.SentinelPassword = s.Username, s.Password
	}
	return goredis.NewFailoverClient(opts), nil
}

func (s Server) askSentinels(ctx context.Context, b Bounds) (login bool, err error) {
	var errs []error
	unfit := 0
	for _, addr := range s.Addresses {
		err := s.askSentinel(ctx, b, addr, false)
		if login = Says(err, "NOAUTH") && s.Password != ""; login {
			err = s.askSentinel(ctx, b, addr, true)
		}
		if err == nil {
			return login, nil
		}
		var reply goredis.Error
		if errors.Is(err, ErrFatal) || errors.As(err, &reply) {
			unfit++
		}
		errs = append(errs, fmt.Errorf("%s: %w", addr, err))
	}
	if unfit == len(s.Addresses) {
		return false, fmt.Errorf("%w: no sentinel knows the primary %q: %w", ErrFatal, s.Master, errors.Join(errs...))
	}
	return false, fmt.Errorf("redis: no sentinel answers: %w", errors.Join(errs...))
}

func (s Server) askSentinel(ctx context.Context, b Bounds, addr string, login bool) error {
	opts := s.Options(addr, b)
	opts.DB = 0
	if !login {
		opts.Username, opts.Password = "", ""
	}
	client := goredis.NewSentinelClient(opts)
	defer client.Close()
	_, err := client.GetMasterAddrByName(ctx, s.Master).Result()
	if errors.Is(err, goredis.Nil) {
		return fmt.Errorf("%w: it does not know that name", ErrFatal)
	}
	return err
}

// Says tells whether err is Redis' own error reply that begins with a word.
func Says(err error, word string) bool {
	var reply goredis.Error
	if !errors.As(err, &reply) {
		return false
	}
	rest, ok := strings.CutPrefix(reply.Error(), word)
	return ok && (rest == "" || rest[0] == ' ' || rest[0] == ':')
}
