package redis

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/oncegate/oncegate/internal/ratelimit"
	"github.com/oncegate/oncegate/internal/ratelimit/leases"
	"github.com/oncegate/oncegate/internal/redistest"
)

// The models say what the scripts do, in Go. Times are microseconds.

type bucketModel struct {
	level float64
	last  int64
	known bool
}

func (m *bucketModel) draw(rate, burst float64, want, debt, now int64) (tokens int64, left float64, fresh bool) {
	fresh = !m.known
	if kept := *m; want == 0 && debt == 0 { // looking changes nothing
		defer func() { *m = kept }()
	}
	if fresh {
		m.level, m.last = burst, now
	}
	if now > m.last {
		m.level += float64(now-m.last) * rate / 1e6
		m.last = now
	} else if m.last-now > 10e6 {
		m.last = now
	}
	m.level = max(-burst, min(burst, m.level))
	m.level = max(-burst, m.level-float64(debt))
	if want > 0 {
		tokens = max(0, min(want, int64(math.Floor(m.level))))
		m.level -= float64(tokens)
	} else {
		m.level = min(burst, m.level-float64(want))
	}
	m.known = m.known || want != 0 || debt > 0
	return tokens, m.level, fresh
}

// clocked opens a source whose clock the test moves.
func clocked(t *testing.T, cfg Config) (*Source, *int64) {
	s := open(t, cfg, patient, Deps{})
	now := new(int64)
	*now = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC).UnixMicro()
	s.clock = func() int64 { return *now }
	return s, now
}

// step moves a clock: mostly on, now and then back (edge case 8).
func step(r *rand.Rand, now *int64, span int64) {
	switch r.IntN(10) {
	case 0:
		*now -= r.Int64N(span)
	case 1:
		*now += r.Int64N(20 * span)
	case 2:
	default:
		*now += r.Int64N(span)
	}
}

// The bucket's script agrees with the model over random draws, debts, returns and edits of the limit (edge cases 8, 12, 19), and
// its answers keep fractions (edge case 13).
func TestBucketIsTheModel(t *testing.T) {
	s, now := clocked(t, single(redistest.Start(t)))
	r := rand.New(rand.NewPCG(1, 2))
	for key := range 30 {
		rate, burst := math.Exp(r.Float64()*12-4), float64(1+r.IntN(500))
		name, m := named(t, s, fmt.Sprint(key)), &bucketModel{}
		for i := range 100 {
			if r.IntN(20) == 0 {
				rate, burst = rate*(0.5+r.Float64()), float64(1+r.IntN(500))
			}
			want, debt := r.Int64N(int64(burst)+2), int64(0)
			switch r.IntN(5) {
			case 0:
				debt = r.Int64N(int64(burst))
			case 1:
				want = -want
			}
			before := *m
			g := good(t, draw(t, s, leases.Draw{Name: name, Limit: bucket(rate, burst), Want: want, Debt: debt}))
			tokens, left, fresh := m.draw(rate, burst, want, debt, *now)
			if g.Tokens != tokens || math.Abs(g.Left-left) > 1e-6 || g.Fresh != fresh || g.Now.UnixMicro() != *now {
				t.Fatalf("%d/%d: want %d, debt %d of %v/s, %v: %+v, not %d, %v, %v; before %+v", key, i, want, debt, rate, burst, g, tokens, left, fresh, before)
			}
			whole := math.Floor(max(0, left)) + 1
			if next := time.Duration((whole - left) / rate * 1e9); next < time.Hour && (g.Next < next-time.Microsecond || g.Next > next+2*time.Microsecond) {
				t.Fatalf("%d/%d: next in %v, not %v", key, i, g.Next, next)
			}
			if want != 0 || debt > 0 {
				m.level = g.Left // the last digits may differ
			}
			step(r, now, int64(1e6/rate*burst/4)+2)
			if m.known && *now-before.last > int64(burst/rate*1e6) {
				m.known = m.known && existing(t, s, bucketKind, name) // the server's own clock expires it
			}
		}
	}
}

func existing(t *testing.T, s *Source, kind byte, name leases.Name) bool {
	t.Helper()
	n, err := s.fleet.single.Load().client.Exists(t.Context(), s.names.of(kind, name)).Result()
	if err != nil {
		t.Fatal(err)
	}
	return n == 1
}

type windowModel struct {
	begins, ends, used int64
	mine               map[string]bool
}

func (m *windowModel) draw(quota, want, debt, drawn, begins, ends int64, me string, now int64) (tokens, left int64, fresh bool) {
	if fresh = m.ends <= now; fresh {
		m.used, m.mine = 0, map[string]bool{}
	}
	lost := drawn
	if m.mine[me] {
		lost = 0
	}
	used := min(2*quota, m.used+lost+debt)
	if want > 0 {
		tokens = max(0, min(want, quota-used))
	} else {
		tokens = 0
		used = max(0, used+want)
	}
	used += tokens
	if want != 0 || debt > 0 || lost > 0 {
		m.begins, m.ends, m.used = begins, ends, used
		m.mine[me] = true
	}
	return tokens, quota - used, fresh
}

// The calendar window's script agrees with the model, across rollovers, several gateways and wrong guesses.
func TestWindowIsTheModel(t *testing.T) {
	cfg := single(redistest.Start(t))
	a, now := clocked(t, cfg)
	b := open(t, cfg, patient, Deps{})
	b.clock = a.clock
	r := rand.New(rand.NewPCG(3, 4))
	for key := range 10 {
		q := ratelimit.Quota{Count: 1 + r.Int64N(300), N: 1 + r.IntN(3), Unit: []string{"h", "m", "d"}[r.IntN(3)]}
		name, m, rolled := named(t, a, fmt.Sprint(key)), &windowModel{mine: map[string]bool{}}, 0
		for i := range 150 {
			s := []*Source{a, b}[r.IntN(2)]
			begins, ends := q.Period(time.UnixMicro(*now))
			if begins.UnixMicro() != m.begins {
				rolled++
			}
			d := leases.Draw{Name: name, Limit: quota(q), Want: r.Int64N(q.Count/5 + 2), Begins: begins, Ends: ends}
			guess := r.IntN(8)
			switch guess {
			case 0: // another period: the store says so, and the source draws from the right one
				d.Begins, d.Ends = q.Period(begins.Add(-time.Second))
			case 1:
				d.Debt = r.Int64N(q.Count)
			case 2:
				d.Want = -d.Want
			case 3:
				d.Drawn = r.Int64N(q.Count)
			}
			g := good(t, draw(t, s, d))
			tokens, left, fresh := m.draw(q.Count, d.Want, d.Debt, d.Drawn, begins.UnixMicro(), ends.UnixMicro(), s.me, *now)
			if g.Tokens != tokens || int64(g.Left) != left || g.Fresh != fresh || !g.Begins.Equal(begins) || g.Ends != ends.Sub(time.UnixMicro(*now)) {
				t.Fatalf("%d/%d: %+v gave %+v, not %d, %d, %v", key, i, d, g, tokens, left, fresh)
			}
			if never := g.Next == ratelimit.Never; never != (left < 1) {
				t.Fatalf("%d left, next in %v", left, g.Next)
			}
			*now += r.Int64N(q.Length().Microseconds() / 20)
		}
		if rolled < 2 {
			t.Fatal("no period ended")
		}
	}
}

// rollingModel keeps every grant. It is the plain meaning: nothing of a script's way of counting is in it.
type rollingModel struct{ at, tokens []int64 }

// most is the largest sum of tokens that any span of the length saw, each used as late as it may be.
func (m *rollingModel) most(length int64) (most int64) {
	for i := range m.at {
		sum := int64(0)
		for j := i; j < len(m.at) && m.at[j] < m.at[i]+length; j++ {
			sum += m.tokens[j]
		}
		most = max(most, sum)
	}
	return most
}

// No span of its length gives more than a rolling quota, also when each token is used at the last moment; and what is granted
// comes back 62 60ths after it was.
func TestRollingNeverExceedsItsQuota(t *testing.T) {
	s, now := clocked(t, single(redistest.Start(t)))
	r := rand.New(rand.NewPCG(5, 6))
	for key := range 6 {
		q := ratelimit.Quota{Count: 20 + r.Int64N(300), N: 1 + r.IntN(5), Unit: "m", Rolling: true}
		length, width := q.Length().Microseconds(), widthOf(q)
		name := named(t, s, fmt.Sprint(key))
		drawn, used, granted := &rollingModel{}, &rollingModel{}, int64(0)
		begin := *now
		for i := range 300 {
			g := good(t, draw(t, s, leases.Draw{Name: name, Limit: quota(q), Want: r.Int64N(q.Count / 4)}))
			if g.Ends < time.Duration(width)*time.Microsecond || g.Ends > 2*time.Duration(width)*time.Microsecond {
				t.Fatalf("tokens are void after %v, a 60th being %v", g.Ends, time.Duration(width)*time.Microsecond)
			}
			drawn.at, drawn.tokens = append(drawn.at, *now), append(drawn.tokens, g.Tokens)
			late := *now + int64(g.Ends/time.Microsecond) - 1
			if i%2 == 0 {
				late = *now
			}
			used.at, used.tokens = append(used.at, late), append(used.tokens, g.Tokens)
			granted += g.Tokens
			if g.Left < 1 {
				after := g.Now.UnixMicro() + int64(g.Next/time.Microsecond)
				keep := *now
				*now = after - 1
				if early := good(t, draw(t, s, leases.Draw{Name: name, Limit: quota(q)})); early.Left >= 1 {
					t.Fatalf("%v are left before it is time", early.Left)
				}
				*now = after
				if next := good(t, draw(t, s, leases.Draw{Name: name, Limit: quota(q)})); next.Left < 1 {
					t.Fatalf("%v are left when it is time", next.Left)
				}
				if *now = keep; r.IntN(3) == 0 {
					*now = after
				}
			}
			*now += r.Int64N(length / 20)
		}
		if most := drawn.most(length); most > q.Count {
			t.Fatalf("a span was granted %d of %d", most, q.Count)
		}
		sortByTime(used)
		if most := used.most(length); most > q.Count {
			t.Fatalf("a span used %d of %d", most, q.Count)
		}
		if due := float64(*now-begin) / float64(length) * float64(q.Count); float64(granted) < 0.8*due {
			t.Fatalf("%d were granted of %v", granted, due)
		}
	}
}

func sortByTime(m *rollingModel) {
	for i := range m.at {
		for j := i; j > 0 && m.at[j] < m.at[j-1]; j-- {
			m.at[j], m.at[j-1], m.tokens[j], m.tokens[j-1] = m.at[j-1], m.at[j], m.tokens[j-1], m.tokens[j]
		}
	}
}
