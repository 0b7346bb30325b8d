package embedded

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"runtime/debug"
	"sync"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/oncegate/oncegate/internal/dedup/record"
)

// The power fails at random moments of a random history: writers who each own some keys, beside a sweeper, an eraser, flushes
// and a clock that moves. Whatever subset of the unsynced writes is kept, each record must be as it was last acknowledged, or
// as the call that was running would have made it.

const (
	powerWriters = 8
	powerKeys    = 12 // of each writer
	powerCuts    = 5  // of each history
)

type power struct {
	t     *testing.T
	s     *Store
	clock *clock
	disk  *vfs.MemFS
	over  chan struct{}

	mu    sync.Mutex // held while the power fails: nothing starts or is acknowledged meanwhile
	seq   int
	known map[int]acked
	erase erasing
	cuts  []cut
}

// erasing is where the last acknowledged one began, and where the one that runs did; 0: none.
type erasing struct{ done, running int }

// acked is what was last acknowledged of a key, and what the call that runs may make of it.
type acked struct {
	record.Record
	seq     int
	running []record.Record // state and token
}

type cut struct {
	disk  *vfs.MemFS
	now   time.Time
	known map[int]acked
	erase erasing
}

func TestPowerLossUndoesNothingAcknowledged(t *testing.T) {
	for seed := range uint64(24) {
		p := &power{t: t, clock: newClock(), disk: vfs.NewCrashableMem(), over: make(chan struct{}), known: map[int]acked{}}
		p.s = open(t, "data", Options{fs: p.disk, free: plenty, now: p.clock.Now})
		var wg sync.WaitGroup
		for g := range powerWriters {
			wg.Go(func() { p.write(rand.New(rand.NewPCG(seed, uint64(g))), g) })
		}
		wg.Go(func() { p.background(rand.New(rand.NewPCG(seed, 100))) })
		rng := rand.New(rand.NewPCG(seed, 200))
		for range powerCuts {
			p.cut(rng)
		}
		close(p.over)
		wg.Wait()
		for i, c := range p.cuts {
			p.check(fmt.Sprintf("seed %d, cut %d", seed, i), c)
		}
		if t.Failed() {
			return
		}
	}
}

func plenty(string) (int64, error) { return 1 << 40, nil }

func (p *power) ended() bool {
	select {
	case <-p.over:
		return true
	default:
		return false
	}
}

// cut waits for some more calls, and keeps the disk as it would be found then.
func (p *power) cut(rng *rand.Rand) {
	p.mu.Lock()
	until := p.seq + 50 + rng.IntN(400)
	p.mu.Unlock()
	for end := time.Now().Add(time.Minute); ; time.Sleep(100 * time.Microsecond) {
		if time.Now().After(end) {
			debug.SetTraceback("all")
			panic("the store stands still")
		}
		p.mu.Lock()
		if p.seq >= until {
			break
		}
		p.mu.Unlock()
	}
	defer p.mu.Unlock()
	disk := p.disk.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: rng.IntN(4) * 33, RNG: rng})
	p.cuts = append(p.cuts, cut{disk, p.clock.Now(), maps.Clone(p.known), p.erase})
}

func (p *power) begun(n int, running ...record.Record) {
	p.mu.Lock()
	defer p.mu.Unlock()
	a := p.known[n]
	a.running = running
	p.known[n] = a
}

func (p *power) done(n int) record.Record {
	r, err := p.s.Look(context.Background(), powerKey(n))
	if err != nil {
		p.t.Error(err)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.seq++
	p.known[n] = acked{Record: r, seq: p.seq}
	return r
}

func powerKey(n int) record.Key { k, _, _ := nth(n); return k }

// subject is 1 for every second key, which the eraser erases.
func subject(n int) record.Subject { return record.Subject{byte(n%2 + 1)} }

func answerOf(t record.Token) []byte { return fmt.Appendf(nil, "answer %x", t) }

func (p *power) write(rng *rand.Rand, g int) {
	for !p.ended() {
		n := g*powerKeys + rng.IntN(powerKeys)
		r := p.done(n) // time may have changed it
		if err := p.call(rng, n, r); err != nil {
			p.t.Error(err)
			return
		}
		p.done(n)
	}
}

// call makes one call that fits the record.
func (p *power) call(rng *rand.Rand, n int, r record.Record) (err error) {
	ctx, k := context.Background(), powerKey(n)
	var fresh record.Token
	for i := range fresh {
		fresh[i] = byte(rng.Uint32())
	}
	keep := []time.Duration{30 * time.Second, time.Hour}[rng.IntN(2)]
	claim := record.Claim{Token: fresh, Lease: time.Minute, KeepKey: keep, Subject: subject(n), Grant: true, Reclaim: rng.IntN(2) == 0}
	end := []record.State{record.Completed, record.Completed, record.Sealed, record.Unknown}[rng.IntN(4)]
	result := record.Result{State: end, Status: 201, Subject: subject(n), KeepAnswer: keep / 2, KeepKey: keep}
	if end == record.Completed {
		result.Answer = answerOf(r.Token)
	}
	until := p.clock.Now().Add(keep).UnixNano() // at the earliest
	may := func(s record.State, t record.Token) { p.begun(n, record.Record{State: s, Token: t, KeyUntil: until}) }
	switch op := rng.IntN(6); {
	case !r.Open() || op == 0:
		may(record.Unknown, fresh) // its process will be gone
		_, err = p.s.Begin(ctx, k, claim)
	case op == 1:
		may(record.Absent, record.Token{})
		_, err = p.s.Release(ctx, k, r.Token)
	case op == 2:
		may(record.Unknown, r.Token)
		_, err = p.s.Renew(ctx, k, r.Token, time.Minute)
	case op == 3 && rng.IntN(2) == 0:
		may(record.Absent, record.Token{})
		_, err = p.s.Resolve(ctx, k, r.Token, record.Resolution{})
	case op == 3:
		may(record.Sealed, r.Token)
		_, err = p.s.Resolve(ctx, k, r.Token, record.Resolution{Executed: true, Status: 201, KeepKey: keep})
	default:
		may(end, r.Token)
		_, err = p.s.Finish(ctx, k, r.Token, result)
	}
	return err
}

// background does what goes on besides.
func (p *power) background(rng *rand.Rand) {
	for !p.ended() {
		p.clock.Advance(time.Duration(rng.IntN(3000)) * time.Millisecond)
		var err error
		switch rng.IntN(8) {
		case 0:
			err = p.s.db.Flush()
		case 1:
			err = p.s.db.Compact(context.Background(), []byte{0}, []byte{0xff}, false)
		case 2:
			p.mu.Lock()
			p.seq++
			p.erase.running = p.seq
			p.mu.Unlock()
			_, err = p.s.Erase(context.Background(), subject(1))
			p.mu.Lock()
			p.erase = erasing{done: p.erase.running}
			p.mu.Unlock()
		default:
			_, err = p.s.Sweep(context.Background())
		}
		if err != nil {
			p.t.Error(err)
		}
	}
}

func (p *power) check(where string, c cut) {
	s := open(p.t, "data", Options{fs: c.disk, free: plenty, now: func() time.Time { return c.now }})
	defer s.Close()
	for n, a := range c.known {
		got, err := s.Look(context.Background(), powerKey(n))
		if err != nil {
			p.t.Errorf("%s, key %d: %v", where, n, err)
			continue
		}
		want := a.At(c.now).Orphan()
		same := got.State == want.State && got.Token == want.Token && got.KeyUntil == want.KeyUntil
		if subject(n) == subject(1) && got.Token == want.Token {
			switch {
			case want.State == record.Completed: // an erasing may have come, and one that was acknowledged stays
				same = got.State == record.Sealed || same && a.seq > c.erase.done
			case want.State == record.Sealed && c.erase.running > 0 && a.seq > c.erase.running: // seen, but not acknowledged
				same = same || got.State == record.Completed
			}
		}
		for _, r := range a.running {
			same = same || got.State == r.State && got.Token == r.Token || got.State == record.Sealed && r.State == record.Completed && got.Token == r.Token
			same = same || got.State == record.Absent && c.now.UnixNano() >= r.KeyUntil // the call hung, and what it wrote is over
		}
		if !same {
			p.t.Errorf("%s, key %d: %+v was acknowledged, %+v ran, found is %+v", where, n, want, a.running, got)
		}
		p.checkVerdict(s, where, n, got)
	}
	if _, err := s.Sweep(context.Background()); err != nil {
		p.t.Error(err)
	}
}

// checkVerdict demands that whoever comes with a key again is told what its record says, to the byte.
func (p *power) checkVerdict(s *Store, where string, n int, r record.Record) {
	f, err := s.Begin(context.Background(), powerKey(n), record.Claim{Token: record.Token{0xff}})
	want := map[record.State]record.Verdict{record.Absent: record.Miss, record.Unknown: record.Undetermined, record.Sealed: record.NotKept, record.Completed: record.Replay}[r.State]
	if err != nil || f.Verdict != want || want == record.Replay && string(f.Answer) != string(answerOf(r.Token)) {
		p.t.Errorf("%s, key %d: %s %q, %v; the record is %s", where, n, f.Verdict, f.Answer, err, r.State)
	}
}
