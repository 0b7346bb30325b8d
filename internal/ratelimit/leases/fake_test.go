package leases

import (
	"context"
	"errors"
	"math"
	"reflect"
	"sync"
	"testing"
	"time"
	"unsafe"

	"github.com/oncegate/oncegate/internal/ratelimit"
)

// ideal is a store of one exact bucket or quota per name.
type ideal struct {
	sync.Mutex
	buckets map[Name]*counter
	skew    time.Duration // its clock against the machine's
	draws   int           // calls that asked for tokens
	returns int           // calls that gave tokens back
	granted int64
	back    int64 // tokens given back
	debts   int64
}

type counter struct {
	level  float64 // of a bucket, or what is left of a quota
	last   time.Time
	begins time.Time
	known  map[*link]bool // whose tokens are counted
}

func newIdeal() *ideal { return &ideal{buckets: map[Name]*counter{}} }

// flush forgets everything, as an empty replica does.
func (i *ideal) flush() {
	i.Lock()
	defer i.Unlock()
	i.buckets = map[Name]*counter{}
}

func (i *ideal) perRequest(requests int) float64 {
	i.Lock()
	defer i.Unlock()
	return float64(i.draws+i.returns) / float64(requests)
}

func (i *ideal) level(key string) float64 {
	i.Lock()
	defer i.Unlock()
	if c := i.buckets[nameOf([]byte(key))]; c != nil {
		return c.level
	}
	return math.NaN()
}

// draw is what a script does: all at once, by the store's own clock.
func (i *ideal) draw(from *link, d Draw) Grant {
	i.Lock()
	defer i.Unlock()
	if d.Want > 0 {
		i.draws++
	} else {
		i.returns++
		i.back -= d.Want
	}
	now := time.Now().Add(i.skew)
	g := Grant{Now: now}
	calendar := isCalendar(d.Limit)
	if calendar {
		begins, ends := d.Limit.Quota().Period(now)
		g.Begins, g.Ends = begins, ends.Sub(now)
		if !begins.Equal(d.Begins) {
			return g
		}
	}
	c := i.counter(from, d, now, &g)
	burst := d.Limit.Burst()
	if !calendar && now.After(c.last) {
		c.level = min(burst, c.level+now.Sub(c.last).Seconds()*d.Limit.Rate())
		c.last = now
	}
	i.debts += d.Debt
	c.level = max(-burst, c.level-float64(d.Debt))
	g.Tokens = max(0, min(d.Want, int64(math.Floor(c.level))))
	c.level = min(burst, c.level-float64(g.Tokens)-float64(min(0, d.Want)))
	i.granted += g.Tokens
	g.Left = c.level
	g.Next = time.Duration(math.Ceil((math.Floor(c.level) + 1 - c.level) / d.Limit.Rate() * 1e9))
	if c.level >= 1 {
		g.Next = 0
	} else if calendar {
		g.Next = ratelimit.Never
	}
	return g
}

func (i *ideal) counter(from *link, d Draw, now time.Time, g *Grant) *counter {
	c := i.buckets[d.Name]
	if c == nil || !c.begins.Equal(g.Begins) {
		g.Fresh = true
		c = &counter{level: d.Limit.Burst(), last: now, begins: g.Begins, known: map[*link]bool{}}
		i.buckets[d.Name] = c
	}
	if !c.known[from] {
		c.known[from] = true
		c.level -= float64(d.Drawn)
	}
	return c
}

// fault is what goes wrong with a call.
type fault int

const (
	works     fault = iota
	refuses         // an error at once, nothing is sent
	stalls          // an error after 10 ms, nothing was done
	swallows        // done, but answered with an error after 10 ms
	vanishes        // done, and never answered
	lags            // done, and answered after 300 ms
	dawdles         // done, and answered after 3 s
	secretive       // no secret: no names
)

var errFault = errors.New("store is gone")

// link is one gateway's way to the store.
type link struct {
	store     *ideal
	mu        sync.Mutex
	fault     fault
	latency   func() time.Duration // of a round trip; 0: answered inside the call
	gateways  int
	uncounted bool
	lost      int64 // tokens that the store granted and this gateway never heard of, or that it could not give back
}

func newLink(store *ideal, latency time.Duration) *link {
	return &link{store: store, gateways: 1, latency: func() time.Duration { return latency }}
}

func (l *link) breaks(f fault) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.fault = f
}

func (l *link) loses(n int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lost += n
}

func (l *link) Name(key []byte) (Name, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return nameOf(key), l.fault != secretive
}

func nameOf(key []byte) (n Name) {
	copy(n[:], key)
	return n
}

func (l *link) Gateways() (n int, sure bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.gateways, !l.uncounted
}

func (l *link) Draw(d Draw, done func(Grant)) {
	l.mu.Lock()
	how, took := l.fault, l.latency()
	l.mu.Unlock()
	failed := Grant{Err: errFault}
	if d.Want < 0 && (how == refuses || how == secretive || how == stalls) {
		l.loses(-d.Want)
	}
	switch {
	case how == refuses || how == secretive:
		done(failed)
	case how == stalls:
		time.AfterFunc(10*time.Millisecond, func() { done(failed) })
	case how == swallows || how == vanishes:
		g := l.store.draw(l, d)
		l.loses(g.Tokens)
		if how == swallows {
			time.AfterFunc(10*time.Millisecond, func() { done(failed) })
		}
	case took == 0:
		done(l.store.draw(l, d))
	default:
		back := took / 2
		if how == lags {
			back = 300 * time.Millisecond
		} else if how == dawdles {
			back = 3 * time.Second
		}
		time.AfterFunc(took/2, func() {
			g := l.store.draw(l, d)
			time.AfterFunc(back, func() { done(g) })
		})
	}
}

// fixture makes limits: the words of the configuration, and what they mean.
type fixture struct {
	rate    string
	burst   int
	failure string
	shadow  bool
}

func (f fixture) limit(t testing.TB, name string) *ratelimit.Limit {
	t.Helper()
	cfg := ratelimit.Config{Burst: f.burst, By: ratelimit.By{"all"}, Scope: "shared", OnStoreFailure: f.failure}
	if f.shadow {
		cfg.Mode = "shadow"
	}
	if f.rate != "" {
		if err := cfg.Rate.UnmarshalText([]byte(f.rate)); err != nil {
			t.Fatal(err)
		}
	}
	l := ratelimit.Compile(name, cfg)
	set(l, "shared", true)
	set(l, "failure", map[string]ratelimit.Failure{"": ratelimit.FailLocal, "allow": ratelimit.FailAllow, "deny": ratelimit.FailDeny}[f.failure])
	return l
}

func set[T any](l *ratelimit.Limit, field string, v T) {
	f := reflect.ValueOf(l).Elem().FieldByName(field)
	*(*T)(unsafe.Pointer(f.UnsafeAddr())) = v
}

func window(t testing.TB, name string, q ratelimit.Quota, failure string) *ratelimit.Limit {
	l := fixture{rate: "1/s", failure: failure}.limit(t, name)
	set(l, "kind", ratelimit.Window)
	set(l, "quota", q)
	set(l, "burst", float64(q.Count))
	set(l, "rate", float64(q.Count)/q.Length().Seconds())
	return l
}

// start makes a gateway that ends with the test.
func start(t testing.TB, src Source, cfg Config) *Store {
	t.Helper()
	s := New(cfg, src, nil, nil)
	t.Cleanup(func() { _ = s.Close(context.Background()) })
	return s
}

func charge(l *ratelimit.Limit, who string, cost int) ratelimit.Charge {
	return ratelimit.Charge{Limit: l, Key: []byte(l.Name() + who), Cost: float64(cost)}
}

func take(t testing.TB, s *Store, l *ratelimit.Limit, who string, cost int) (ratelimit.Charge, bool) {
	t.Helper()
	charges := []ratelimit.Charge{charge(l, who, cost)}
	ok, err := s.Take(context.Background(), charges)
	if err != nil {
		t.Fatal(err)
	}
	return charges[0], ok
}
