package upstream

import (
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/oncegate/oncegate/internal/pipeline"
	"github.com/oncegate/oncegate/internal/units"
)

// several is a configuration with the defaults of the document.
func several(urls ...string) Config {
	cfg := defaults(urls...)
	cfg.Ejection = EjectionConfig{Consecutive: 5, Connect: 3, Time: units.Duration(30 * time.Second), MaxTime: units.Duration(5 * time.Minute), MaxShare: 0.5}
	cfg.Panic = 0.5
	return cfg
}

const (
	busy    = "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n"
	serious = "HTTP/1.1 500 Internal Server Error\r\nContent-Length: 0\r\n\r\n"
)

// live puts the rig's upstream in force, as a snapshot would.
func (r *rig) live() *rig { r.pools.Live([]*Upstream{r.Upstream}); return r }

// errors makes n calls and counts those that a client would call failed.
func (r *rig) errors(t *testing.T, n int) (bad int) {
	t.Helper()
	for range n {
		m := with("POST", "x")
		if _, err := r.do(m); err != nil || m.Sent.Status() >= 500 {
			bad++
		}
	}
	return bad
}

func (r *rig) states() string {
	var list []string
	for _, info := range r.Targets() {
		list = append(list, info.State)
	}
	return strings.Join(list, " ")
}

func (r *rig) wantStates(t *testing.T, want string) {
	t.Helper()
	if got := r.states(); got != want {
		t.Errorf("states %q, want %q; %+v", got, want, r.Targets())
	}
}

// switching answers by a switch: what is in it is sent.
func switching(t testing.TB, answer string) (*fake, *atomic.Pointer[string]) {
	var now atomic.Pointer[string]
	now.Store(&answer)
	return newFake(t, func(p *peer) {
		for p.request() != nil {
			p.send(*now.Load())
		}
	}), &now
}

// deadPort is an address that refuses connections and that nobody else gets while the test runs.
func deadPort(t *testing.T) string {
	t.Helper()
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Close(fd) })
	if err = unix.Bind(fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		t.Fatal(err)
	}
	at, err := unix.Getsockname(fd)
	if err != nil {
		t.Fatal(err)
	}
	return "http://127.0.0.1:" + strconv.Itoa(at.(*unix.SockaddrInet4).Port)
}

// One of two targets fails, in each way there is: after five calls each the clients' error rate is below 1 %. A refused
// connection is not even seen.
func TestOneOfTwoTargetsFails(t *testing.T) {
	for name, c := range map[string]struct {
		fault func(p *peer)
		most  int
	}{
		"503":      {answering(busy), 5},
		"502":      {answering("HTTP/1.1 502 X\r\nContent-Length: 0\r\n\r\n"), 5},
		"504":      {answering("HTTP/1.1 504 X\r\nContent-Length: 0\r\n\r\n"), 5},
		"reset":    {func(p *peer) { p.request(); p.reset() }, 5},
		"garbage":  {func(p *peer) { p.request(); p.send("hello\r\n\r\n") }, 5},
		"silence":  {func(p *peer) { p.request(); p.block() }, 5},
		"cut":      {func(p *peer) { p.request(); p.send("HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\nx") }, 5},
		"refused":  {nil, 0},
		"hangs up": {func(p *peer) {}, 5},
	} {
		for _, balance := range []string{"round_robin", "least_request", "ewma"} {
			t.Run(name+"/"+balance, func(t *testing.T) {
				t.Parallel()
				url := ""
				if c.fault != nil {
					url = newFake(t, c.fault).url
				} else {
					url = deadPort(t)
				}
				cfg := several(url, newFake(t, answering(okAnswer)).url)
				if cfg.Balance = balance; name == "silence" {
					cfg.Timeout.FirstByte = units.Duration(150 * time.Millisecond)
				}
				r := newRig(t, cfg).live()
				first := r.errors(t, 10)
				if first > c.most {
					t.Errorf("%d errors in the first ten calls", first)
				}
				warm := r.errors(t, 30) // balancing by load calls the bad one too seldom for five in a row at once
				if first+warm > c.most {
					t.Errorf("%d errors until the target was out", first+warm)
				}
				if bad := r.errors(t, 1000); bad >= 10 {
					t.Errorf("%d of 1000 calls failed", bad)
				}
			})
		}
	}
}

// What says nothing about a target's health ejects nothing.
func TestWhatEjectsNothing(t *testing.T) {
	for name, answer := range map[string]string{
		"404": "HTTP/1.1 404 X\r\nContent-Length: 0\r\n\r\n", "429": "HTTP/1.1 429 X\r\nContent-Length: 0\r\n\r\n", "500": serious,
		"501": "HTTP/1.1 501 X\r\nContent-Length: 0\r\n\r\n", "503 with a time": "HTTP/1.1 503 X\r\nRetry-After: 5\r\nContent-Length: 0\r\n\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, several(newFake(t, answering(answer)).url, newFake(t, answering(okAnswer)).url)).live()
			r.errors(t, 40)
			r.wantStates(t, "up up")
		})
	}
	t.Run("client gone", func(t *testing.T) {
		silent := newFake(t, func(p *peer) { p.request(); p.block() })
		r := newRig(t, several(silent.url, silent.url)).live()
		for range 3 {
			m := with("POST", "x")
			m.Leave()
			_, err := r.do(m)
			wantKind(t, err, pipeline.ClientGone)
		}
		if n := &r.set.Load().targets[0].node.record; n.Bad(&r.rules.eject, "errors") || r.Targets()[0].Failing > 0 {
			t.Error("a client that left counts against the target")
		}
	})
	t.Run("no time left", func(t *testing.T) {
		r := newRig(t, several(newFake(t, answering(okAnswer)).url, newFake(t, answering(okAnswer)).url)).live()
		for range 30 {
			m := with("POST", "x")
			m.Deadline = time.Now().Add(-time.Second)
			_, err := r.do(m)
			wantKind(t, err, pipeline.UpstreamTimeout)
		}
		r.wantStates(t, "up up")
	})
}

// A connection that carried a call before and breaks without an answer says nothing, even many in a row: upstreams end idle
// connections, and a POST may meet that.
func TestStaleConnectionsEjectNothing(t *testing.T) {
	var arrived, left sync.WaitGroup
	arrived.Add(12)
	once := func(p *peer) {
		p.request()
		arrived.Done()
		arrived.Wait()
		p.send(okAnswer)
		p.request() // and closes
	}
	r := newRig(t, several(newFake(t, once).url, newFake(t, once).url)).live()
	for range 12 {
		left.Go(func() { _, _ = r.do(with("POST", "first")) })
	}
	left.Wait()
	for range 12 {
		_, err := r.do(with("POST", "second"))
		wantKind(t, err, pipeline.UpstreamFailed)
	}
	r.wantStates(t, "up up")
}

// Edge case 18.
func TestTheLastTargetIsNeverEjected(t *testing.T) {
	r := newRig(t, several(newFake(t, answering(busy)).url)).live()
	if r.errors(t, 50) != 50 {
		t.Error("not called")
	}
	r.wantStates(t, "up")
	cfg := several(newFake(t, answering(busy)).url, newFake(t, answering(busy)).url)
	cfg.Ejection.MaxShare = 1
	r = newRig(t, cfg).live()
	r.errors(t, 100)
	if got := r.states(); got != "ejected up" && got != "up ejected" {
		t.Error(got)
	}
	for _, info := range r.Targets() {
		if info.Reason == "" || info.State == Ejected && (info.Until.Before(time.Now().Add(25*time.Second)) || info.EjectedErrors != 1) {
			t.Errorf("nothing explains it: %+v", info)
		}
	}
}

func TestMaxShare(t *testing.T) {
	bad := newFake(t, answering(busy))
	cfg := several(bad.url, bad.url, bad.url, bad.url, bad.url, bad.url)
	r := newRig(t, cfg).live()
	r.errors(t, 200)
	if n := strings.Count(r.states(), Ejected); n != 3 {
		t.Errorf("%d of 6 are out, want 3: %s", n, r.states())
	}
	cfg.Ejection.MaxShare = 0.2
	r = newRig(t, cfg).live()
	r.errors(t, 200)
	if n := strings.Count(r.states(), Ejected); n != 1 {
		t.Errorf("%d of 6 are out, want 1: %s", n, r.states())
	}
}

// Edge case 19: when too little is left, all are used, and it is counted.
func TestPanicUsesAll(t *testing.T) {
	good := newFake(t, answering(okAnswer))
	r := newRig(t, several(good.url, good.url, good.url, good.url)).live()
	targets := r.set.Load().targets
	calls := func() (n [4]int) {
		for range 100 {
			m := with("GET", "x")
			if _, err := r.do(m); err != nil {
				t.Fatal(err)
			}
		}
		for i, target := range targets {
			n[i] = int(target.node.load.Latency())
		}
		return n
	}
	sick := func(n int) {
		r.group.mu.Lock()
		defer r.group.mu.Unlock()
		for i, target := range targets {
			target.node.health(i >= n, "test")
		}
	}
	sick(2) // half is still enough
	if seen := calls(); seen[0]+seen[1] > 0 || r.Info().Panic {
		t.Errorf("%v, %+v", seen, r.Info())
	}
	sick(3)
	if seen := calls(); seen[0] == 0 || seen[2] == 0 || !r.Info().Panic || r.Info().Panics != 1 {
		t.Errorf("%v, %+v", seen, r.Info())
	}
	sick(0)
	if r.Info().Panic || r.Info().Panics != 1 {
		t.Errorf("%+v", r.Info())
	}
	sick(4)
	r.rules.panic = 0
	m := with("POST", "x")
	_, err := r.do(m)
	wantKind(t, err, pipeline.UpstreamOpen)
	if m.Problem.RetryAfter != 1 || m.Problem.Executed != pipeline.ExecutedNo || m.Attempt.Count != 0 {
		t.Errorf("%+v %+v", m.Problem, m.Attempt)
	}
}

// Edge cases 20 and 23: nobody has to say that a target is well again, and it comes back with its weight. While it still fails
// it costs one call each time, and stays away longer.
func TestReturnByTime(t *testing.T) {
	shaky, answer := switching(t, busy)
	cfg := several(shaky.url, newFake(t, answering(okAnswer)).url)
	cfg.Ejection.Time = units.Duration(200 * time.Millisecond)
	r := newRig(t, cfg).live()
	if bad := r.errors(t, 40); bad != 5 {
		t.Errorf("%d errors before the ejection", bad)
	}
	r.wantStates(t, "ejected up")
	time.Sleep(230 * time.Millisecond) // a tenth is jitter
	if bad := r.errors(t, 40); bad != 1 {
		t.Errorf("%d errors after the first return, want one", bad)
	}
	if until := time.Until(r.Targets()[0].Until); until < 300*time.Millisecond {
		t.Errorf("the second time is %v", until)
	}
	good := okAnswer
	answer.Store(&good)
	time.Sleep(450 * time.Millisecond)
	before := len(shaky.requests())
	if bad := r.errors(t, 40); bad != 0 || len(shaky.requests())-before != 20 {
		t.Errorf("%d errors, %d of 40 calls at the target that is back", bad, len(shaky.requests())-before)
	}
	r.wantStates(t, "up up")
}

// Though nobody calls, a target comes back and the log says so.
func TestReturnWithoutCalls(t *testing.T) {
	cfg := several(newFake(t, answering(busy)).url, newFake(t, answering(okAnswer)).url)
	cfg.Ejection.Time = units.Duration(100 * time.Millisecond)
	log := &logged{}
	r := newLoggedRig(t, cfg, log)
	r.errors(t, 20)
	eventually(t, "the return is logged", func() bool { return strings.Contains(log.String(), "target is back from ejection") })
	for _, words := range []string{`"target is ejected"`, `"reason":"errors"`, `"times":1`, `"upstream":"orders"`} {
		if !strings.Contains(log.String(), words) {
			t.Errorf("%s is not in the log: %s", words, log)
		}
	}
}

// Settings that eject no longer forgive at once, and others forgive nothing: state outlives a reload.
func TestReloads(t *testing.T) {
	cfg := several(newFake(t, answering(busy)).url, newFake(t, answering(okAnswer)).url)
	r := newRig(t, cfg).live()
	r.errors(t, 20)
	reload := func(cfg Config) {
		next, err := New("orders", cfg, r.pools, r.rec)
		if err != nil {
			t.Fatal(err)
		}
		r.Upstream = next
		r.live()
	}
	cfg.Balance, cfg.Targets[0].Weight = "ewma", 3
	reload(cfg)
	r.wantStates(t, "ejected up")
	if r.errors(t, 20) != 0 {
		t.Error("the reload forgave the target")
	}
	if !r.Drain(r.Targets()[1].Address, true) {
		t.Fatal("not drained")
	}
	cfg.Targets[0], cfg.Targets[1] = cfg.Targets[1], cfg.Targets[0]
	reload(cfg)
	r.wantStates(t, "drained ejected")
	cfg.Ejection.Consecutive, cfg.Ejection.Connect = 0, 0
	reload(cfg)
	r.wantStates(t, "drained up")
	cfg.Targets = cfg.Targets[1:]
	reload(cfg)
	cfg = several(append([]string{}, cfg.Targets[0].URL, newFake(t, answering(okAnswer)).url)...)
	reload(cfg)
	r.wantStates(t, "up up")
}
