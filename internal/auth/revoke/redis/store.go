// Package redis keeps the revocations of a fleet in Redis.
//
// It promises that what Add has returned for is read by every gateway that asks afterwards; that an entry stays until its end
// and no longer; that calls are bounded by a second and never repeated; and that a gateway learns when Redis has lost
// something (it was emptied, restarted, or another server took over): Since says revoke.ErrGone, and a revoke.Follower tells
// again what it knows. It does not promise that a primary which is cut off from the others, but not from a gateway, knows the
// news. When Redis fails, calls end with an error; the list of the gateway serves for its grace.
//
// All of it is under one hash tag, so that a cluster keeps it on one server: head (life and number of the newest), order (of
// the entries, by number), ends (of the entries) and entries.
package redis

import (
	"context"
	"crypto/rand"
	_ "embed"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"strings"
	"sync"
	"time"

	goredis "github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/logging"

	"github.com/oncegate/oncegate/internal/auth/revoke"
	"github.com/oncegate/oncegate/internal/redisconn"
)

var (
	//go:embed lua/add.lua
	addSource string
	//go:embed lua/since.lua
	sinceSource string

	addScript   = goredis.NewScript(addSource)
	sinceScript = goredis.NewScript(sinceSource)
)

// Store is a revoke.Store in Redis.
type Store struct {
	cfg                        Config
	log                        *slog.Logger
	head, order, ends, entries string

	mu     sync.Mutex
	client goredis.UniversalClient // nil until the sentinels have answered
	closed bool
}

var _ revoke.Store = (*Store)(nil)

var quiet sync.Once

var errClosed = errors.New("redis: the store of revocations is closed")

// Open looks at Redis. One that can't be reached is no error: it is asked again with every call. A wrong password or mode is.
func Open(ctx context.Context, cfg Config, deps Deps) (*Store, error) {
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	if deps.Log == nil {
		deps.Log = slog.New(slog.DiscardHandler)
	}
	quiet.Do(func() { goredis.SetLogger(&logging.VoidLogger{}) }) // it would write to stderr what we report ourselves
	stem := cfg.Prefix + ":rv1:{rv}:"
	s := &Store{cfg: cfg, log: deps.Log, head: stem + "head", order: stem + "order", ends: stem + "ends", entries: stem + "entries"}
	ctx, cancel := context.WithTimeout(ctx, startTime)
	defer cancel()
	err := s.survey(ctx)
	if errors.Is(err, errFatal) {
		_ = s.Close()
		return nil, err
	}
	if err != nil {
		s.log.Warn("redis can't be used yet: what other gateways revoked is not known", "error", err.Error())
	}
	return s, nil
}

// survey looks at what the server is, and asks for nothing.
func (s *Store) survey(ctx context.Context) error {
	client, err := s.connect(ctx)
	if err != nil {
		return err
	}
	if s.cfg.Mode != redisconn.Cluster {
		if text, err := client.Info(ctx, "server").Result(); err == nil && strings.Contains(text, "redis_mode:cluster") {
			return fmt.Errorf("%w: the server is a node of a cluster: set mode to cluster", errFatal)
		}
	}
	text, err := client.Info(ctx, "memory").Result()
	if err == nil && !strings.Contains(text, "maxmemory_policy:noeviction") && !strings.Contains(text, "maxmemory:0\r") {
		s.log.Warn("redis evicts keys when its memory is full, and a revocation that is evicted is unknown to gateways that start then: set maxmemory-policy to noeviction")
	}
	if _, _, err = s.Since(ctx, "-/-/0"); errors.Is(err, revoke.ErrGone) {
		return nil
	}
	return err
}

func (s *Store) connect(ctx context.Context) (goredis.UniversalClient, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, errClosed
	}
	if s.client != nil {
		return s.client, nil
	}
	client, err := Dial(ctx, s.cfg)
	if err != nil {
		return nil, err
	}
	s.client = client
	return client, nil
}

// Add implements revoke.Store. The error is revoke.ErrFull when there is no room.
func (s *Store) Add(ctx context.Context, e revoke.Entry) error {
	left := time.Until(e.Until)
	if left <= 0 {
		return nil
	}
	client, err := s.connect(ctx)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	body := what(&e)
	keys := []string{s.head, s.order, s.ends, s.entries}
	n, err := addScript.Run(ctx, client, keys, rand.Text(), idOf(body), micros(e.Before), micros(e.Until), left.Milliseconds()+1, body, s.cfg.Max).Int()
	switch {
	case err != nil:
		return blame(fmt.Errorf("redis: %w", err))
	case n < 0:
		return revoke.ErrFull
	}
	return nil
}

// Since implements revoke.Store. Pages without an entry (it is over, or was evicted) are passed over.
func (s *Store) Since(ctx context.Context, cursor string) ([]revoke.Entry, string, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	for {
		entries, next, err := s.page(ctx, cursor)
		if err != nil || len(entries) > 0 || next == cursor || cursor == "" && strings.HasSuffix(next, "/0") {
			return entries, next, err
		}
		cursor = next
	}
}

func (s *Store) page(ctx context.Context, cursor string) ([]revoke.Entry, string, error) {
	life, server, place, err := places(cursor)
	if err != nil {
		return nil, "", revoke.ErrGone
	}
	client, err := s.connect(ctx)
	if err != nil {
		return nil, "", err
	}
	answer, err := sinceScript.Run(ctx, client, []string{s.head, s.order, s.entries}, life, server, place, pageSize).StringSlice()
	switch {
	case err != nil:
		return nil, "", blame(fmt.Errorf("redis: %w", err))
	case len(answer) == 2:
		return nil, "", revoke.ErrGone
	case len(answer) < 2:
		return nil, "", errStrange
	}
	entries := make([]revoke.Entry, 0, len(answer)-3)
	for _, text := range answer[3:] {
		e, err := parse(text)
		if err != nil {
			return nil, "", err
		}
		entries = append(entries, e)
	}
	return entries, strings.Join(answer[:3], "/"), nil
}

// places splits a cursor: life/server/place.
func places(cursor string) (life, server, place string, err error) {
	if cursor == "" {
		return "", "", "", nil
	}
	parts := strings.Split(cursor, "/")
	if len(parts) != 3 {
		return "", "", "", errStrange
	}
	_, err = strconv.ParseUint(parts[2], 10, 63)
	return parts[0], parts[1], parts[2], err
}

// Close ends the connections.
func (s *Store) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed || s.client == nil {
		s.closed = true
		return nil
	}
	s.closed = true
	return s.client.Close()
}
