package chaos

import (
	"context"
	"encoding/base64"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/oncegate/oncegate/internal/dedup/record"
	dedupredis "github.com/oncegate/oncegate/internal/dedup/redis"
	"github.com/oncegate/oncegate/internal/redisconn"
	"github.com/oncegate/oncegate/internal/redistest"
)

const redisPrefix = "oncegate"

// The faults of a Redis that stands alone; the proxy between gateways and Redis makes the last six.
const (
	RedisKill    = "redis-kill"  // kill -9, and a start on the same files
	RedisPause   = "redis-pause" // SIGSTOP
	RedisScripts = "script-flush"
	RedisLose    = "lose" // every record is deleted: what the positive controls need
	ProxyCut     = "cut"
	ProxyStall   = "stall"
	ProxyAsk     = "drop-requests"
	ProxyTell    = "drop-replies"
	ProxyDelay   = "delay"
)

// losses collects what a store may have lost: for each loss, from when to when it acknowledged what is gone.
type losses struct {
	mu      sync.Mutex
	windows []window
}

type window struct{ from, until int64 }

func (l *losses) add(from, until time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.windows = append(l.windows, window{from.UnixNano(), until.UnixNano()})
}

// MayLose gives the slots with a call in any window, and at which instants they may have lost something.
func (l *losses) MayLose(calls []Call) map[Slot][]int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	may := map[Slot][]int64{}
	for _, w := range l.windows {
		for _, c := range calls {
			if c.Start <= w.until && (c.End == 0 || c.End >= w.from) && !slices.Contains(may[c.Slot], w.until) {
				may[c.Slot] = append(may[c.Slot], w.until)
			}
		}
	}
	return may
}

// aloneStore is one Redis behind a proxy.
type aloneStore struct {
	losses
	server *redistest.Server
	proxy  *redistest.Proxy
	lag    time.Duration // everysec: what a kill may cost
}

// RedisAlone are gateways that share one Redis, with an append-only file synced as fsync says: always or everysec.
func RedisAlone(gateways int, fsync string) Topology {
	return Topology{Name: "redis-" + fsync, Gateways: gateways, Shared: true, Open: func(t testing.TB) (Store, error) {
		s := &aloneStore{server: redistest.Start(t, "--appendonly", "yes", "--appendfsync", fsync, "--maxmemory-policy", "noeviction")}
		s.proxy = redistest.NewProxy(t, s.server.Addr)
		if fsync != "always" {
			s.lag = 2 * time.Second
		}
		return s, nil
	}}
}

func redisState(dir, mode, more string, addresses []string) string {
	return fmt.Sprintf("{ store: redis, path: %q, redis: { mode: %s, addresses: [%s], prefix: %s%s } }",
		filepath.Join(dir, "data"), mode, strings.Join(addresses, ", "), redisPrefix, more)
}

// State implements Store.
func (s *aloneStore) State(dir string) string {
	return redisState(dir, "single", "", []string{s.proxy.Addr})
}

// Heal implements Store.
func (s *aloneStore) Heal() {
	s.proxy.Heal()
	if !s.server.Running() {
		s.server.Restart()
	}
	s.server.Resume()
}

// Dump gives the records at rest.
func (s *aloneStore) Dump() ([]Record, error) {
	return dumpRedis(dedupredis.Config{Server: redisconn.Server{Mode: redisconn.Single, Addresses: []string{s.server.Addr}}}, s.server)
}

// Faults implements Store.
func (s *aloneStore) Faults() map[string]Disturb {
	proxied := func(name string, begin func()) Disturb {
		return s.disturb(name, begin, s.proxy.Heal, 1200*time.Millisecond)
	}
	return map[string]Disturb{
		RedisKill: func(h *History, stop <-chan struct{}) error {
			defer h.Fault(FaultStore, RedisKill)()
			at := time.Now()
			s.server.Kill()
			wait(300*time.Millisecond, stop)
			s.server.Restart()
			if s.lag > 0 {
				s.add(at.Add(-s.lag), time.Now())
			}
			return nil
		},
		RedisPause: s.disturb(RedisPause, s.server.Pause, s.server.Resume, 2500*time.Millisecond),
		RedisScripts: func(h *History, _ <-chan struct{}) error {
			defer h.Fault("scripts", RedisScripts)()
			_, err := s.server.Do("SCRIPT", "FLUSH")
			return err
		},
		RedisLose: func(h *History, _ <-chan struct{}) error {
			defer h.Fault(FaultLoss, RedisLose)()
			s.add(time.Unix(0, 0), time.Now()) // what is answered from here to its end may be of before or after
			err := forgetRecords(s.server)
			s.add(time.Unix(0, 0), time.Now())
			return err
		},
		ProxyCut:   proxied(ProxyCut, s.proxy.Cut),
		ProxyStall: proxied(ProxyStall, s.proxy.Stall),
		ProxyAsk:   proxied(ProxyAsk, s.proxy.DropRequests),
		ProxyTell:  proxied(ProxyTell, s.proxy.DropReplies),
		ProxyDelay: proxied(ProxyDelay, func() { s.proxy.Delay(300 * time.Millisecond) }),
	}
}

// disturb is a fault that lasts for at most d.
func (s *aloneStore) disturb(name string, begin, end func(), d time.Duration) Disturb {
	return func(h *History, stop <-chan struct{}) error {
		defer h.Fault(FaultStore, name)()
		begin()
		wait(d, stop)
		end()
		return nil
	}
}

func keysOf(s *redistest.Server) ([]string, error) {
	reply, err := s.Do("KEYS", redisPrefix+":{*}:r:*")
	if err != nil {
		return nil, err
	}
	list, _ := reply.([]any)
	names := make([]string, 0, len(list))
	for _, name := range list {
		names = append(names, fmt.Sprint(name))
	}
	return names, nil
}

// forgetRecords deletes every record, as a failover to an empty replica would. The secret stays: gateways hold it.
func forgetRecords(s *redistest.Server) error {
	const script = "for _, k in ipairs(redis.call('KEYS', ARGV[1])) do redis.call('DEL', k) end return 1"
	_, err := s.Do("EVAL", script, 0, redisPrefix+":{*")
	return err
}

// dumpRedis looks up every record that the servers, which share no key, have.
func dumpRedis(cfg dedupredis.Config, servers ...*redistest.Server) ([]Record, error) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	cfg.Prefix = redisPrefix
	store, err := dedupredis.Open(ctx, cfg, dedupredis.Deps{})
	if err != nil {
		return nil, err
	}
	defer store.Close()
	all := []Record{}
	for _, s := range servers {
		names, err := keysOf(s)
		if err != nil {
			return nil, err
		}
		for _, name := range names {
			_, id, _ := strings.Cut(name, "}:r:")
			raw, err := base64.RawURLEncoding.DecodeString(id)
			if err != nil || len(raw) != len(record.Key{}) {
				return nil, fmt.Errorf("%q is not the name of a record", name)
			}
			r, err := lookUntil(ctx, store, record.Key(raw))
			if err != nil {
				return nil, fmt.Errorf("record %q: %w", name, err)
			}
			all = append(all, Record{Forwarded: forwardedKey(raw), State: r.State.String(), Status: r.Status})
		}
	}
	return all, nil
}

// lookUntil tries again while the store does not trust a primary that it has just met.
func lookUntil(ctx context.Context, store *dedupredis.Store, key record.Key) (r record.Record, err error) {
	for range 50 {
		if r, err = store.Look(ctx, key); err == nil || !wait(100*time.Millisecond, ctx.Done()) {
			break
		}
	}
	return r, err
}
