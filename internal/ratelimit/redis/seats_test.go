package redis

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/oncegate/oncegate/internal/ratelimit"
	"github.com/oncegate/oncegate/internal/redistest"
)

func seatsOf(t testing.TB, s *Source, key string) int64 {
	t.Helper()
	n, err := s.fleet.single.Load().client.ZCard(t.Context(), s.names.of(seatsKind, named(t, s, key))).Result()
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func charge(l *ratelimit.Limit, key string) ratelimit.Charge {
	return ratelimit.Charge{Limit: l, Key: []byte(key), Cost: 1}
}

func acquire(t testing.TB, s *Source, charges ...ratelimit.Charge) ([]ratelimit.Charge, bool) {
	t.Helper()
	ok, err := s.Acquire(t.Context(), charges)
	if err != nil {
		t.Fatal(err)
	}
	return charges, ok
}

// The seats' script agrees with a list of who sits and until when, with the clock going on and back.
func TestSeatsAreTheModel(t *testing.T) {
	s, now := clocked(t, single(redistest.Start(t)))
	r := rand.New(rand.NewPCG(7, 8))
	limit := slots(5, ratelimit.FailDeny)
	name := named(t, s, "k")
	model := map[uint64]int64{}
	for i := range 800 {
		leave := r.IntN(3) == 0
		for id, until := range model {
			if until <= *now && !leave {
				delete(model, id)
			}
		}
		switch id := 1 + r.Uint64N(12); {
		case leave:
			if _, err := s.ask(t.Context(), leaveScript, s.names.of(seatsKind, name), s.member(id)); err != nil {
				t.Fatal(err)
			}
			delete(model, id)
		case model[id] != 0: // stay
			if _, err := s.ask(t.Context(), stayScript, s.names.of(seatsKind, name), seatLife.Microseconds(), *now, s.member(id)); err != nil {
				t.Fatal(err)
			}
			model[id] = *now + seatLife.Microseconds()
		default:
			c := s.seatCall(name, limit, id)
			a := satDown(s.ask(t.Context(), c.script, c.key, c.args...))
			if a.err != nil {
				t.Fatal(a.err)
			}
			if a.taken != (len(model) < 5) {
				t.Fatalf("%d: taken %v with %d seats of 5", i, a.taken, len(model))
			}
			if a.taken {
				model[id] = *now + seatLife.Microseconds()
			}
			first := *now + seatLife.Microseconds()*1000
			for _, until := range model {
				first = min(first, until)
			}
			if int(a.count) != len(model) || a.wait != time.Duration(first-*now)*time.Microsecond {
				t.Fatalf("%d: %+v, not %d seats, the first for %v", i, a, len(model), time.Duration(first-*now)*time.Microsecond)
			}
		}
		*now += r.Int64N(seatLife.Microseconds() / 5)
		if r.IntN(10) == 0 {
			*now -= r.Int64N(seatLife.Microseconds() / 5)
		}
	}
}

// Two gateways together never serve more than the limit; and each seat comes back.
func TestSeatsAreShared(t *testing.T) {
	cfg := single(redistest.Start(t))
	gateways := []*Source{open(t, cfg, patient, Deps{}), open(t, cfg, patient, Deps{})}
	limit := slots(7, ratelimit.FailDeny)
	var busy, most, served atomic.Int64
	var clients sync.WaitGroup
	for i := range 20 {
		clients.Go(func() {
			for range 30 {
				charges, ok := acquire(t, gateways[i%2], charge(limit, "k"))
				if !ok {
					if charges[0].Seat != 0 || charges[0].Admitted || charges[0].Wait <= 0 {
						t.Errorf("refused: %+v", charges[0])
					}
					continue
				}
				served.Add(1)
				n := busy.Add(1)
				for m := most.Load(); n > m && !most.CompareAndSwap(m, n); m = most.Load() {
				}
				time.Sleep(time.Millisecond)
				busy.Add(-1)
				gateways[i%2].Release(charges)
			}
		})
	}
	clients.Wait()
	if most.Load() > 7 || served.Load() < 30 {
		t.Fatalf("%d at once, %d in all", most.Load(), served.Load())
	}
	await(t, 5*time.Second, "all seats are free", func() bool { return seatsOf(t, gateways[0], "k") == 0 })
}

// Of several limits a seat is taken at each or at none; a shadow refuses nothing.
func TestSeatsAllOrNone(t *testing.T) {
	s := open(t, single(redistest.Start(t)), patient, Deps{})
	wide, narrow := slots(5, ratelimit.FailDeny), slots(1, ratelimit.FailDeny)
	first, ok := acquire(t, s, charge(wide, "wide"), charge(narrow, "narrow"))
	if !ok || first[0].Level != 4 || first[1].Level != 0 {
		t.Fatalf("%v %+v", ok, first)
	}
	if second, ok := acquire(t, s, charge(wide, "wide"), charge(narrow, "narrow")); ok || second[1].Admitted || second[0].Seat != 0 {
		t.Fatalf("%v %+v", ok, second)
	}
	await(t, 5*time.Second, "the wide limit has its seat back", func() bool { return seatsOf(t, s, "wide") == 1 })
	set(narrow, "shadow", true)
	third, ok := acquire(t, s, charge(wide, "wide"), charge(narrow, "narrow"))
	if !ok || third[1].Admitted || third[0].Seat == 0 {
		t.Fatalf("%v %+v", ok, third)
	}
	s.Release(third)
	s.Release(first)
	s.Release(first) // once more is nothing
	await(t, 5*time.Second, "all seats are free", func() bool { return seatsOf(t, s, "wide")+seatsOf(t, s, "narrow") == 0 })
}

// Edge case 34: seats of a gateway that died expire within 10 s, and those of one that lives do not.
func TestSeatsOfTheDeadExpire(t *testing.T) {
	cfg := single(redistest.Start(t))
	dies, lives := open(t, cfg, patient, Deps{}), open(t, cfg, patient, Deps{})
	limit := slots(4, ratelimit.FailDeny)
	for _, s := range []*Source{dies, dies, lives, lives} {
		if _, ok := acquire(t, s, charge(limit, "k")); !ok {
			t.Fatal("refused")
		}
	}
	await(t, 5*time.Second, "two are alive", func() bool { return alive(lives) == 2 })
	begin := time.Now()
	abandon(dies)
	if _, ok := acquire(t, lives, charge(limit, "k")); ok {
		t.Fatal("a fifth of four")
	}
	await(t, seatLife+2*time.Second, "a seat of the dead is free", func() bool { _, ok := acquire(t, lives, charge(limit, "k")); return ok })
	if took := time.Since(begin); took > seatLife+time.Second {
		t.Fatalf("after %v", took)
	}
	await(t, 3*time.Second, "one is alive", func() bool { return alive(lives) == 1 })
	if n := len(lives.seats.held); n != 3 {
		t.Fatalf("the living one holds %d seats", n)
	}
	if n := seatsOf(t, lives, "k"); n < 3 { // edge case 35: they did not expire while busy
		t.Fatalf("%d seats of the living one are known", n)
	}
}

// abandon has a source do nothing more, as SIGKILL has.
func abandon(s *Source) {
	s.fleet.close()
	s.stop()
}

// While Redis is down each limit does what it says; and seats taken then are known to Redis afterwards.
func TestSeatsWithoutRedis(t *testing.T) {
	srv := redistest.Start(t)
	proxy := redistest.NewProxy(t, srv.Addr)
	s := open(t, through(proxy), 200*time.Millisecond, Deps{})
	local, allow, deny := slots(6, ratelimit.FailLocal), slots(6, ratelimit.FailAllow), slots(6, ratelimit.FailDeny)
	acquire(t, s, charge(local, "local"))
	s.gateways.Store(2)
	proxy.Cut()
	count := func(l *ratelimit.Limit, key string) (n int) {
		for range 10 {
			if _, ok := acquire(t, s, charge(l, key)); ok {
				n++
			}
		}
		return n
	}
	if n := count(local, "local"); n != 2 { // a half of 6, and one was taken before
		t.Errorf("local: %d", n)
	}
	if n := count(allow, "allow"); n != 10 {
		t.Errorf("allow: %d", n)
	}
	one := []ratelimit.Charge{charge(allow, "other"), charge(deny, "deny")}
	if ok, err := s.Acquire(t.Context(), one); ok || err == nil || one[0].Seat != 0 {
		t.Errorf("deny: %v %v %+v", ok, err, one)
	}
	set(deny, "shadow", true)
	if _, ok := acquire(t, s, charge(deny, "deny")); !ok {
		t.Error("a shadow refused")
	}
	if n := count(slots(1, ratelimit.FailLocal), "few"); n != 1 { // edge case 31: never less than one
		t.Errorf("few: %d", n)
	}
	proxy.Heal()
	await(t, 10*time.Second, "Redis knows who sits", func() bool {
		n, err := srv.Do("ZCARD", s.names.of(seatsKind, named(t, s, "local")))
		m, err2 := srv.Do("ZCARD", s.names.of(seatsKind, named(t, s, "allow")))
		return err == nil && err2 == nil && n == int64(3) && m == int64(10)
	})
}

// A request that is cut off gives back what it may have got.
func TestSeatsOfTheCancelled(t *testing.T) {
	srv := redistest.Start(t)
	proxy := redistest.NewProxy(t, srv.Addr)
	s := open(t, through(proxy), patient, Deps{})
	limit := slots(3, ratelimit.FailDeny)
	acquire(t, s, charge(limit, "k"))
	proxy.Delay(50 * time.Millisecond)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if ok, err := s.Acquire(ctx, []ratelimit.Charge{charge(limit, "k"), charge(limit, "k")}); ok || !errors.Is(err, context.DeadlineExceeded) {
		t.Fatal(ok, err)
	}
	proxy.Heal()
	await(t, 5*time.Second, "one seat is taken", func() bool { return len(s.seats.held) == 1 && seatsOf(t, s, "k") == 1 })
}
