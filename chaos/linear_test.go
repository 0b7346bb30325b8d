package chaos

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"

	"github.com/oncegate/oncegate/internal/dedup"
	"github.com/oncegate/oncegate/internal/dedup/embedded"
	"github.com/oncegate/oncegate/internal/dedup/memory"
	"github.com/oncegate/oncegate/internal/dedup/record"
	dedupredis "github.com/oncegate/oncegate/internal/dedup/redis"
	"github.com/oncegate/oncegate/internal/redisconn"
	"github.com/oncegate/oncegate/internal/redistest"
)

// The model is package record itself with time standing still: the stores are asked with leases that outlast the test, so
// every history of calls has to be one of some order of its pure functions, for each key alone.

// step is one call on a store.
type step struct {
	key    int
	what   string // begin, finish, release, renew, resolve, look
	token  record.Token
	print  record.Fingerprint
	grant  bool
	again  bool // reclaim
	result record.Result
}

func (s step) String() string {
	return fmt.Sprintf("%s key %d token %d fp %d grant %v reclaim %v %s", s.what, s.key, s.token[0], s.print[0], s.grant, s.again, s.result.State)
}

// stepped is what it gave.
type stepped struct {
	found   record.Found
	outcome record.Outcome
	yes     bool
	state   record.State
}

func (o stepped) String() string {
	return fmt.Sprintf("%d/%d %d %v %s", o.found.Verdict, o.found.Epoch, o.outcome, o.yes, o.state)
}

var frozen = time.Unix(1_800_000_000, 0)

const ages = 1000 * time.Hour

func claimOf(s step) record.Claim {
	return record.Claim{Fingerprint: s.print, Token: s.token, Lease: ages, KeepKey: ages, Grant: s.grant, Reclaim: s.again}
}

var settledAs = record.Resolution{Executed: true, Status: 200, KeepKey: ages}

// apply is the model's step on an encoded record.
func apply(encoded string, s step) (string, stepped) {
	var r record.Record
	if encoded != "" {
		var err error
		if r, err = record.Decode([]byte(encoded)); err != nil {
			panic(err)
		}
	}
	var o stepped
	next := r
	switch s.what {
	case "begin":
		next, o.found = r.Begin(claimOf(s), frozen)
		o.found.Answer = bytes.Clone(o.found.Answer)
	case "finish":
		next, o.outcome = r.Finish(s.token, s.result, frozen)
	case "release":
		next, o.yes = r.Release(s.token, frozen)
	case "renew":
		next, o.yes = r.Renew(s.token, ages, frozen)
	case "resolve":
		next, o.yes = r.Resolve(s.token, settledAs, frozen)
	case "look":
		o.state = r.At(frozen).State
	}
	if next.State == record.Absent {
		return "", o
	}
	return string(next.Append(nil)), o
}

// call does the step on a store.
func call(t *testing.T, store dedup.Store, key record.Key, s step) (o stepped) {
	ctx := context.Background()
	var err error
	switch s.what {
	case "begin":
		o.found, err = store.Begin(ctx, key, claimOf(s))
	case "finish":
		o.outcome, err = store.Finish(ctx, key, s.token, s.result)
	case "release":
		o.yes, err = store.Release(ctx, key, s.token)
	case "renew":
		o.yes, err = store.Renew(ctx, key, s.token, ages)
	case "resolve":
		o.yes, err = store.Resolve(ctx, key, s.token, settledAs)
	case "look":
		var r record.Record
		r, err = store.Look(ctx, key)
		o.state = r.State
	}
	if err != nil {
		t.Errorf("%s: %v", s, err)
	}
	return o
}

// same compares what a caller can see and time does not change.
func same(a, b stepped) bool {
	f, g := a.found, b.found
	return f.Verdict == g.Verdict && f.Epoch == g.Epoch && f.Token == g.Token && f.Status == g.Status && f.RequestID == g.RequestID &&
		bytes.Equal(f.Answer, g.Answer) && a.outcome == b.outcome && a.yes == b.yes && a.state == b.state
}

var model = porcupine.Model{
	Partition: func(history []porcupine.Operation) (parts [][]porcupine.Operation) {
		byKey := map[int][]porcupine.Operation{}
		for _, op := range history {
			k := op.Input.(step).key
			byKey[k] = append(byKey[k], op)
		}
		for _, part := range byKey {
			parts = append(parts, part)
		}
		return parts
	},
	Init: func() any { return "" },
	Step: func(state, input, output any) (bool, any) {
		next, want := apply(state.(string), input.(step))
		return same(want, output.(stepped)), next
	},
	DescribeOperation: func(in, out any) string { return fmt.Sprint(in, " -> ", out) },
}

// draw makes a call; few tokens and prints have the calls meet.
func draw(r *rand.Rand, keys int) step {
	s := step{key: r.IntN(keys), token: record.Token{byte(1 + r.IntN(4))}, print: record.Fingerprint{byte(1 + r.IntN(8)/7)}}
	s.grant, s.again = r.IntN(8) > 0, r.IntN(12) == 0
	switch n := r.IntN(20); {
	case n < 9:
		s.what = "begin"
	case n < 13:
		s.what = "finish"
		s.result = record.Result{State: record.State(2 + r.IntN(3)), Fingerprint: s.print, RequestID: fmt.Sprint("r", s.token[0]), KeepAnswer: ages, KeepKey: ages}
		if s.result.State != record.Unknown {
			s.result.Status = 200 + r.IntN(5)
		}
		if s.result.State == record.Completed {
			s.result.Answer = []byte(fmt.Sprint("answer ", r.IntN(1000)))
		}
	case n < 16:
		s.what = "release"
	case n < 17:
		s.what = "renew"
	case n < 18:
		s.what = "resolve"
	default:
		s.what = "look"
	}
	return s
}

// linear runs clients on a store and judges the history. keys of different rounds differ.
func linear(t *testing.T, store dedup.Store, rounds int) {
	t.Helper()
	seed := seedOf(t, t.Name())
	const clients, calls, keys = 6, 30, 3
	for round := range rounds {
		var mu sync.Mutex
		var history []porcupine.Operation
		var group sync.WaitGroup
		start := time.Now()
		for client := range clients {
			r := rand.New(rand.NewPCG(seed+uint64(round), uint64(client)))
			group.Go(func() {
				for range calls {
					s := draw(r, keys)
					op := porcupine.Operation{ClientId: client, Input: s, Call: int64(time.Since(start))}
					op.Output = call(t, store, record.Key{byte(s.key), byte(round), byte(round >> 8), 7}, s)
					op.Return = int64(time.Since(start))
					mu.Lock()
					history = append(history, op)
					mu.Unlock()
				}
			})
		}
		group.Wait()
		if got := porcupine.CheckOperationsTimeout(model, history, 20*time.Second); got == porcupine.Illegal {
			t.Fatalf("round %d of seed %d is not linearizable (ONCEGATE_CHAOS_SEED=%d)", round, seed, seed)
		} else if got == porcupine.Unknown {
			t.Logf("round %d: too long to decide", round)
		}
	}
}

func TestChaosLinearMemory(t *testing.T) { linear(t, memory.New(memory.Options{}), 200) }

func TestChaosLinearEmbedded(t *testing.T) {
	store, err := embedded.Open(t.TempDir(), embedded.Options{Ballast: -1, SweepEvery: 20 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = store.Close() })
	linear(t, store, 40)
}

func TestChaosLinearRedis(t *testing.T) {
	server := redistest.Start(t)
	store, err := dedupredis.Open(t.Context(), dedupredis.Config{Server: redisconn.Server{Mode: redisconn.Single, Addresses: []string{server.Addr}}, Prefix: "linear"}, dedupredis.Deps{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = store.Close() })
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		if _, err := store.Begin(t.Context(), record.Key{9}, claimOf(step{grant: true})); err == nil {
			break
		} else if time.Now().After(end) {
			t.Fatal(err)
		}
	}
	linear(t, store, 40)
}

// torn is a store whose Begin is two steps: look, then claim.
type torn struct {
	dedup.Store
	mu sync.Mutex
}

// Begin implements dedup.Store, wrongly.
func (s *torn) Begin(ctx context.Context, key record.Key, c record.Claim) (record.Found, error) {
	look := c
	look.Grant = false
	found, err := s.Store.Begin(ctx, key, look)
	if err != nil || found.Verdict != record.Miss || !c.Grant {
		return found, err
	}
	time.Sleep(time.Millisecond)
	if _, err := s.Store.Begin(ctx, key, c); err != nil {
		return record.Found{}, err
	}
	return record.Found{Verdict: record.Acquired, Epoch: 1}, nil
}

// A store that is not atomic has to be found out, or the other tests say nothing.
func TestChaosLinearFindsATornStore(t *testing.T) {
	store := &torn{Store: memory.New(memory.Options{})}
	for round := range 50 {
		var history []porcupine.Operation
		var group sync.WaitGroup
		start := time.Now()
		for client := range 4 {
			group.Go(func() {
				s := step{what: "begin", token: record.Token{byte(client + 1)}, print: record.Fingerprint{1}, grant: true}
				op := porcupine.Operation{ClientId: client, Input: s, Call: int64(time.Since(start))}
				op.Output = call(t, store, record.Key{byte(round)}, s)
				op.Return = int64(time.Since(start))
				store.mu.Lock()
				history = append(history, op)
				store.mu.Unlock()
			})
		}
		group.Wait()
		if !porcupine.CheckOperations(model, history) {
			return
		}
	}
	t.Fatal("a store that grants two claims passes for linearizable")
}
