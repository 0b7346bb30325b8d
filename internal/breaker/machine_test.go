package breaker

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

// reference is the breaker in the plainest words: it keeps every result and every probe and looks at all of them each time.
type reference struct {
	state      State
	since      time.Duration
	era        int
	results    []result
	inRow      int
	probes     []*probe
	goodProbes int
}

type result struct {
	part         int64
	failed, slow bool
}

type probe struct {
	expires  time.Duration
	reported bool
}

type held struct {
	era    int
	probe  *probe
	permit pass // of the machine
}

func (r *reference) enter(state State, now time.Duration) {
	*r = reference{state: state, since: now, era: r.era + 1}
}

func (r *reference) live(now time.Duration) int {
	n := 0
	for _, p := range r.probes {
		if !p.reported && p.expires > now {
			n++
		}
	}
	return n
}

func (r *reference) acquire(s *Settings, now time.Duration) (held, bool) {
	if r.state == Open && now >= r.since+s.Open {
		r.enter(HalfOpen, now)
	}
	switch r.state {
	case Open:
		return held{}, false
	case HalfOpen:
		if r.live(now) >= s.Probes {
			return held{}, false
		}
		p := &probe{expires: now + max(s.Open, 10*time.Second)}
		r.probes = append(r.probes, p)
		return held{era: r.era, probe: p}, true
	}
	return held{era: r.era}, true
}

func (r *reference) counts(s *Settings, now time.Duration) (c count) {
	for _, one := range r.results {
		if int64(now/(s.Window/buckets))-one.part >= buckets {
			continue
		}
		c.calls++
		if one.failed {
			c.failed++
		}
		if one.slow {
			c.slow++
		}
	}
	return c
}

func (r *reference) report(s *Settings, h held, o Outcome, took, now time.Duration) {
	if h.era != r.era {
		return
	}
	if h.probe != nil {
		h.probe.reported = true
	}
	slow := s.Slow > 0 && took > s.Slow
	switch {
	case o == Neutral:
	case r.state == HalfOpen && (o == Failure || slow):
		r.enter(Open, now)
	case r.state == HalfOpen:
		if r.goodProbes++; r.goodProbes >= s.Probes {
			r.enter(Closed, now)
		}
	case r.state == Closed:
		r.results = append(r.results, result{int64(now / (s.Window / buckets)), o == Failure, slow})
		r.inRow++
		if o != Failure {
			r.inRow = 0
		}
		c := r.counts(s, now)
		byRate := c.calls >= s.Minimum && (float64(c.failed) >= s.FailureRate*float64(c.calls) ||
			s.Slow > 0 && float64(c.slow) >= s.SlowRate*float64(c.calls))
		if byRate || s.Consecutive > 0 && r.inRow >= s.Consecutive {
			r.enter(Open, now)
		}
	}
}

func drawSettings(d *rand.Rand) Settings {
	return Settings{
		Window: 10 * time.Second, Minimum: 1 + d.IntN(12), FailureRate: float64(1+d.IntN(8)) / 8,
		Slow: time.Duration(d.IntN(2)) * time.Second, SlowRate: float64(1+d.IntN(8)) / 8,
		Consecutive: d.IntN(3) * 3, Open: time.Duration(1+d.IntN(200)) * 100 * time.Millisecond, Probes: 1 + d.IntN(6),
	}
}

// run drives machine and reference side by side, with reloads in between, and checks what must hold at every step.
func run(t *testing.T, seed uint64) (opened, closed int) {
	d := rand.New(rand.NewPCG(seed, 7))
	s := drawSettings(d)
	var m machine
	var r reference
	var now time.Duration
	var open []held
	for step := range 600 {
		if d.IntN(3) == 0 {
			now += time.Duration(d.IntN(1500)) * time.Millisecond
		}
		if d.IntN(100) == 0 {
			s = drawSettings(d)
		}
		was := m.state
		if len(open) == 0 || d.IntN(5) < 2 {
			ready := m.wait(&s, now) == 0
			permit, wait, ok := m.acquire(&s, now)
			h, want := r.acquire(&s, now)
			if ok != want || ok != ready || ok != (wait <= 0) {
				t.Fatalf("seed %d step %d: acquire %v, Ready %v, wait %v, want %v in %v", seed, step, ok, ready, wait, want, r.state)
			}
			if ok && was == Open && now < r.since {
				t.Fatal("an open breaker let a call through before its time")
			}
			if ok {
				h.permit = permit
				open = append(open, h)
			}
		} else {
			i := d.IntN(len(open))
			o, took := Outcome(d.IntN(3)), time.Duration(d.IntN(1500))*time.Millisecond
			old := open[i].permit.generation != m.generation
			before := m
			m.report(&s, open[i].permit, o, took, now)
			r.report(&s, open[i], o, took, now)
			if old && m != before {
				t.Fatalf("seed %d step %d: an old result changed the state", seed, step)
			}
			open = slices.Delete(open, i, i+1)
		}
		compare(t, seed, step, &m, &r, &s, now)
		if m.state != was && m.state == Open {
			opened++
		} else if m.state != was && m.state == Closed {
			closed++
		}
	}
	return opened, closed
}

func compare(t *testing.T, seed uint64, step int, m *machine, r *reference, s *Settings, now time.Duration) {
	t.Helper()
	used := 0
	for _, l := range m.leases {
		if l.expires > now {
			used++
		}
	}
	c := m.window.sum
	if m.state == Closed && m.window.step > 0 {
		w := m.window
		w.advance(s.Window, now)
		c = w.sum
	}
	switch {
	case m.state != r.state || m.since != r.since:
		t.Fatalf("seed %d step %d: %v since %v, want %v since %v", seed, step, m.state, m.since, r.state, r.since)
	case used != r.live(now):
		t.Fatalf("seed %d step %d: %d leases, want %d", seed, step, used, r.live(now))
	case c != r.counts(s, now):
		t.Fatalf("seed %d step %d: %+v, want %+v", seed, step, c, r.counts(s, now))
	case c.failed < 0 || c.slow < 0 || c.failed > c.calls || c.slow > c.calls:
		t.Fatalf("seed %d step %d: impossible counts %+v", seed, step, c)
	case m.state != HalfOpen && used > 0:
		t.Fatalf("seed %d step %d: %v with probes", seed, step, m.state)
	}
}

func TestAgreesWithReference(t *testing.T) {
	opened, closed := 0, 0
	for seed := range uint64(500) {
		o, c := run(t, seed)
		opened, closed = opened+o, closed+c
	}
	if opened < 500 || closed < 100 {
		t.Errorf("the driver met too little: opened %d times, closed %d times", opened, closed)
	}
}

// With fixed settings there are never more probes at once than set, whatever is reported.
func TestProbesAreBounded(t *testing.T) {
	for seed := range uint64(200) {
		d := rand.New(rand.NewPCG(seed, 8))
		s := drawSettings(d)
		m := machine{state: HalfOpen}
		var open []pass
		var until []time.Duration
		for now := time.Duration(0); m.state == HalfOpen && now < time.Minute; now += time.Duration(d.IntN(3)) * time.Second {
			if p, _, ok := m.acquire(&s, now); ok {
				open, until = append(open, p), append(until, now+max(s.Open, minLease))
			}
			live := 0
			for _, end := range until {
				if end > now {
					live++
				}
			}
			if live > s.Probes {
				t.Fatalf("seed %d: %d probes of %d at %v", seed, live, s.Probes, now)
			}
			if i := d.IntN(len(open) + 1); i < len(open) && d.IntN(2) == 0 {
				m.report(&s, open[i], Neutral, 0, now)
				open, until = slices.Delete(open, i, i+1), slices.Delete(until, i, i+1)
			}
		}
	}
}

func TestWindowSlides(t *testing.T) {
	var w window
	for i := range time.Duration(30) {
		w.advance(10*time.Second, i*time.Second)
		w.add(count{calls: 1, failed: int(i % 2)})
		if want := min(int(i)+1, 10); w.sum.calls != want || w.sum.failed != want/2 {
			t.Errorf("after %d s: %+v", i, w.sum)
		}
	}
	w.advance(10*time.Second, 35*time.Second)
	if w.sum.calls != 4 {
		t.Errorf("after a gap of 6 s: %+v", w.sum)
	}
	w.advance(10*time.Second, time.Hour)
	if w.sum != (count{}) {
		t.Errorf("after an hour: %+v", w.sum)
	}
}

// A reload to another length of window forgets nothing, and what it kept expires a window later.
func TestWindowOfAnotherLength(t *testing.T) {
	var w window
	w.advance(10*time.Second, 3*time.Second)
	w.add(count{calls: 7, failed: 2})
	w.advance(time.Minute, 4*time.Second)
	if w.sum != (count{calls: 7, failed: 2}) {
		t.Errorf("%+v", w.sum)
	}
	w.advance(time.Minute, 53*time.Second)
	if w.sum.calls != 7 {
		t.Errorf("%+v", w.sum)
	}
	w.advance(time.Minute, 61*time.Second)
	if w.sum.calls != 0 {
		t.Errorf("%+v", w.sum)
	}
}

func TestWindowSpoil(t *testing.T) {
	var w window
	w.advance(10*time.Second, 0)
	w.add(count{calls: 1})
	w.advance(10*time.Second, 9*time.Second)
	w.spoil()
	if w.sum != (count{calls: 1, failed: 1}) {
		t.Errorf("the success became a failure: %+v", w.sum)
	}
	w.spoil()
	if w.sum != (count{calls: 2, failed: 2}) {
		t.Errorf("without a success a call is added: %+v", w.sum)
	}
	w.advance(10*time.Second, 10*time.Second)
	if w.sum != (count{calls: 1, failed: 1}) {
		t.Errorf("each expires with its own part: %+v", w.sum)
	}
}
