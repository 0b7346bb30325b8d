package embedded

import (
	"context"
	crand "crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"golang.org/x/sys/unix"

	"github.com/oncegate/oncegate/internal/dedup/record"
)

// TestAge measures a store that has grown old: it fills it, then has several times as much come and go, with the default
// retentions (answers a day, keys three), and prints a line a day. A day passes with as many writes as there are answers.
//
//	ONCEGATE_AGE=1024 go test -run TestAge -timeout 60m -v ./internal/dedup/embedded   # MiB of answers alive
//
// ONCEGATE_AGE_DAYS (6) and ONCEGATE_AGE_DIR (a temporary folder) are optional.
func TestAge(t *testing.T) {
	mib, _ := strconv.Atoi(os.Getenv("ONCEGATE_AGE"))
	if mib == 0 {
		t.Skip("a measurement of minutes; set ONCEGATE_AGE to the MiB of answers")
	}
	days, _ := strconv.Atoi(os.Getenv("ONCEGATE_AGE_DAYS"))
	if days == 0 {
		days = 6
	}
	dir, err := os.MkdirTemp(os.Getenv("ONCEGATE_AGE_DIR"), "age")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	a := &aged{t: t, dir: dir, perDay: mib << 20 / value, pool: make([]byte, 8<<20)}
	crand.Read(a.pool)
	a.s = open(t, filepath.Join(dir, "data"), Options{now: a.now, SweepEvery: 24 * time.Hour}) // this test sweeps by itself
	t.Logf("%d answers of %d bytes a day, %d writers", a.perDay, value, ageWriters)
	for day := 1; day <= days; day++ {
		a.day(day)
	}
	a.reopen()
}

const (
	ageWriters = 64
	ageSweeps  = time.Second
)

type aged struct {
	t        *testing.T
	dir      string
	s        *Store
	perDay   int
	pool     []byte
	n        atomic.Int64 // writes so far: the clock
	sweeping atomic.Bool
	before   pebble.Metrics
}

func (a *aged) now() time.Time {
	return time.Unix(1_700_000_000, 0).Add(time.Duration(float64(a.n.Load()) / float64(a.perDay) * float64(24*time.Hour)))
}

// took is what calls took, in microseconds: while nobody swept, and while somebody did.
type took struct{ begin, finish [2][]int32 }

func (a *aged) day(day int) {
	ctx, stop := context.WithCancel(a.t.Context())
	var swept int
	var worked time.Duration
	var sweeper sync.WaitGroup
	sweeper.Go(func() { swept, worked = a.sweep(ctx) })
	begun, cpu := time.Now(), cpuTime()
	all := make([]took, ageWriters)
	var wg sync.WaitGroup
	for g := range all {
		wg.Go(func() { a.write(int64(day)*int64(a.perDay), &all[g]) })
	}
	wg.Wait()
	d := time.Since(begun)
	cpu = cpuTime() - cpu
	stop()
	sweeper.Wait()
	a.print(day, d, cpu, swept, worked, all)
}

// write claims and finishes until the day is over.
func (a *aged) write(end int64, spent *took) {
	rng := rand.New(rand.NewPCG(rand.Uint64(), 1))
	for {
		n := a.n.Add(1)
		if n > end {
			a.n.Add(-1)
			return
		}
		k, tok, _ := nth(int(n))
		during := 0
		if a.sweeping.Load() {
			during = 1
		}
		at := time.Now()
		f, err := a.s.Begin(context.Background(), k, record.Claim{Token: tok, Lease: time.Minute, KeepKey: 72 * time.Hour, Grant: true, Route: "orders"})
		if err != nil || f.Verdict != record.Acquired {
			a.t.Error(f.Verdict, err)
			return
		}
		mid := time.Now()
		from := rng.IntN(len(a.pool) - value)
		r := record.Result{State: record.Completed, Status: 201, Answer: a.pool[from : from+value], KeepAnswer: 24 * time.Hour, KeepKey: 72 * time.Hour, Route: "orders", RequestID: "0123456789abcdef"}
		if _, err := a.s.Finish(context.Background(), k, tok, r); err != nil {
			a.t.Error(err)
			return
		}
		spent.begin[during] = append(spent.begin[during], int32(mid.Sub(at).Microseconds()))
		spent.finish[during] = append(spent.finish[during], int32(time.Since(mid).Microseconds()))
	}
}

func (a *aged) sweep(ctx context.Context) (touched int, worked time.Duration) {
	tick := time.NewTicker(ageSweeps)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return touched, worked
		case <-tick.C:
		}
		a.sweeping.Store(true)
		rest := paced(ctx, ageSweeps)
		n, err := a.s.sweep(ctx, func(d time.Duration) { worked += d; rest(d) })
		a.sweeping.Store(false)
		if touched += n; err != nil && ctx.Err() == nil {
			a.t.Error(err)
		}
	}
}

func (a *aged) print(day int, d, cpu time.Duration, swept int, worked time.Duration, all []took) {
	disk := folderSize(a.dir)
	m := a.s.db.Metrics()
	wrote := written(m) - written(&a.before)
	a.before = *m
	live := 0
	for age := range min(day, 3) { // three days' records, one day's answers
		each := 41 + 33 + len(record.Record{Route: "orders", RequestID: "0123456789abcdef"}.Append(nil))
		if age == 0 {
			each += 41 + value
		}
		live += a.perDay * each
	}
	a.t.Logf("day %d: %6.0f keyed writes/s | begin p50 %s, p99 %s; finish p50 %s, p99 %s ms (quiet/sweeping)", day, float64(a.perDay)/d.Seconds(),
		percentiles(all, 50, false), percentiles(all, 99, false), percentiles(all, 50, true), percentiles(all, 99, true))
	a.t.Logf("       disk %d MiB (tables %d), live %d MiB, %.2f | wrote %.2f x payload | swept %d, %.1f µs each, %.1f%% of a core | cpu %.2f cores, %.0f µs/write | rss %d MiB | L0 %d, %d compactions",
		disk>>20, m.Total().TablesSize>>20, live>>20, float64(disk)/float64(live), float64(wrote)/float64(a.perDay*value),
		swept, float64(worked.Microseconds())/float64(max(swept, 1)), 100*worked.Seconds()/d.Seconds(),
		cpu.Seconds()/d.Seconds(), float64(cpu.Microseconds())/float64(a.perDay), residentSize()>>20, m.Levels[0].TablesCount, m.Compact.Count)
}

// reopen opens the folder as it would be found after a kill, and as it was left.
func (a *aged) reopen() {
	killed := filepath.Join(a.dir, "killed")
	if err := a.s.db.Checkpoint(killed, pebble.WithFlushedWAL()); err != nil {
		a.t.Fatal(err)
	}
	at := time.Now()
	again := open(a.t, killed, Options{now: a.now})
	a.t.Logf("open after a kill: %s", time.Since(at).Round(time.Millisecond))
	if err := errors.Join(again.Close(), a.s.Close()); err != nil {
		a.t.Fatal(err)
	}
	at = time.Now()
	again = open(a.t, filepath.Join(a.dir, "data"), Options{now: a.now})
	a.t.Logf("open after a clean end: %s", time.Since(at).Round(time.Millisecond))
	at = time.Now()
	n, err := again.Sweep(a.t.Context())
	a.t.Logf("a first sweep, from the start: %d records in %s, %v", n, time.Since(at).Round(time.Millisecond), err)
	at = time.Now()
	did, err := again.Erase(a.t.Context(), record.Subject{1})
	a.t.Logf("erasing a subject without records: %s, %+v, %v", time.Since(at).Round(time.Millisecond), did, err)
	if err := again.db.Compact(a.t.Context(), []byte{0}, []byte{0xff}, false); err != nil {
		a.t.Fatal(err)
	}
	a.t.Logf("compacted by hand: %d MiB of tables", again.db.Metrics().Total().TablesSize>>20)
}

func written(m *pebble.Metrics) (n uint64) {
	n = m.WAL.BytesWritten
	for _, l := range m.Levels {
		n += l.TableBytesFlushed + l.TableBytesCompacted + l.BlobBytesFlushed + l.BlobBytesCompacted
	}
	return n
}

func percentiles(all []took, p int, finish bool) string {
	out := ""
	for during := range 2 {
		var some []int32
		for _, t := range all {
			if finish {
				some = append(some, t.finish[during]...)
			} else {
				some = append(some, t.begin[during]...)
			}
		}
		if len(some) == 0 {
			out += "/-"
			continue
		}
		slices.Sort(some)
		out += fmt.Sprintf("/%.1f", float64(some[len(some)*p/100])/1000)
	}
	return out[1:]
}

func folderSize(dir string) (n int64) {
	_ = filepath.WalkDir(dir, func(_ string, e fs.DirEntry, err error) error {
		if err == nil {
			if i, err := e.Info(); err == nil && i.Mode().IsRegular() {
				n += i.Size()
			}
		}
		return nil
	})
	return n
}

func cpuTime() time.Duration {
	var u unix.Rusage
	_ = unix.Getrusage(unix.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func residentSize() (n int64) {
	var total, pages int64
	if b, err := os.ReadFile("/proc/self/statm"); err == nil {
		_, _ = fmt.Sscan(string(b), &total, &pages)
	}
	return pages * int64(os.Getpagesize())
}
