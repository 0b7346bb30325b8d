package e2e

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// stormy has a limit, because the replays of a route with limits are bounded, too; it never refuses here.
const stormy = `upstreams: { up: { targets: [%q] } }
rate_limits: { wide: { rate: 1000000/s, burst: 1000000, by: client } }
routes:
  - { id: storm, match: { path: /storm }, auth: { issuers: [main] }, rate_limits: [wide], dedup: { key: required, wait: %s }, to: up }
`

const (
	stormDuplicates  = 10000
	stormConnections = 256
	stormTime        = time.Second // in which all of them are sent
	stormWaiters     = 8           // that one key may have
	stormMemory      = 64 << 10    // KiB by which the peak may grow
	stormRoutines    = 100         // goroutines besides one for each connection
)

// TestStormOfDuplicates sends 10,000 duplicates of one key within a second while the upstream takes 300 ms for the first: it
// runs once, every answer is the result, "in progress" or "asked too often", and the gateway holds few of them and little memory.
func TestStormOfDuplicates(t *testing.T) {
	for _, wait := range []string{"0s", "1s"} {
		t.Run("wait "+wait, func(t *testing.T) {
			s := &duplicateStorm{kinds: map[string]int{}, waits: wait != "0s", seen: make(chan struct{})}
			up := serve(t, func(w http.ResponseWriter, r *http.Request) {
				_, _ = io.Copy(io.Discard, r.Body)
				time.Sleep(300 * time.Millisecond) // the upstream's own work
				if s.waits {                       // on a slow machine nobody may have looked yet
					select {
					case <-s.seen:
					case <-time.After(500 * time.Millisecond):
					}
				}
				w.WriteHeader(http.StatusCreated)
				_, _ = io.WriteString(w, strings.Repeat("once ", 400))
			})
			s.gateway = begin(t, fmt.Sprintf(stormy, up.url, wait))
			s.bearer = s.token("-ttl", "1h")
			s.blow()
			t.Log(s.kinds)
			if n := up.count.Load(); n != 1 || s.kinds["201 executed"] != 1 {
				t.Errorf("%d executions; answers: %v", n, s.kinds)
			}
			s.calm()
			if n := up.count.Load(); n != 1 {
				t.Errorf("%d executions after the storm", n)
			}
		})
	}
}

type duplicateStorm struct {
	*gateway
	bearer string
	waits  bool
	seen   chan struct{} // closed when a duplicate was first seen waiting

	mu          sync.Mutex
	kinds       map[string]int // answers
	most, crowd int            // duplicates that were seen waiting, goroutines that were seen
}

// blow sends the storm and watches the gateway meanwhile.
func (s *duplicateStorm) blow() {
	s.t.Helper()
	_, text := s.get(s.admin, "/metrics")
	routines, memory := gauge(text, "go_goroutines"), s.peak()
	over, watched := make(chan struct{}), make(chan struct{})
	go func() { defer close(watched); s.watch(over) }()
	client := &http.Client{Timeout: 15 * time.Second, Transport: &http.Transport{MaxIdleConnsPerHost: stormConnections, MaxConnsPerHost: stormConnections}}
	var all sync.WaitGroup
	begin := time.Now().Add(50 * time.Millisecond)
	for i := range stormConnections {
		all.Go(func() {
			for n := i; n < stormDuplicates; n += stormConnections {
				time.Sleep(time.Until(begin.Add(stormTime * time.Duration(n) / stormDuplicates))) // the load's shape
				s.once(client)
			}
		})
	}
	all.Wait()
	close(over)
	<-watched
	client.CloseIdleConnections()
	if s.most > stormWaiters || s.waits && s.most == 0 {
		s.t.Errorf("up to %d duplicates waited; at most %d may, and some should where they can", s.most, stormWaiters)
	}
	if s.crowd > routines+stormConnections+stormRoutines {
		s.t.Errorf("%d goroutines, %d before, for %d connections", s.crowd, routines, stormConnections)
	}
	grown := s.peak() - memory
	if grown >= stormMemory {
		s.t.Errorf("the peak of memory grew by %d KiB", grown)
	}
	s.t.Logf("%d waiting, %d goroutines at most; memory grew by %d KiB", s.most, s.crowd, grown)
	s.soon("nobody waits any more", func() bool { return s.metric("gateway_dedup_waiting") == "0" })
}

// once sends a duplicate and counts its answer by kind; what is none of the expected ones is an error.
func (s *duplicateStorm) once(client *http.Client) {
	r, err := http.NewRequest(http.MethodPost, "http://"+s.address+"/storm", bytes.NewReader(stormBody()))
	if err != nil {
		s.t.Error(err)
		return
	}
	r.Header = http.Header{"Authorization": {s.bearer}, "Idempotency-Key": {"storm-1"}, "Content-Type": {"application/json"}}
	got, err := client.Do(r)
	if err != nil {
		s.t.Error(err)
		return
	}
	defer got.Body.Close()
	body, err := io.ReadAll(got.Body)
	if err != nil {
		s.t.Error(err)
		return
	}
	kind := s.kindOf(answer{got.StatusCode, got.Header, string(body)})
	s.mu.Lock()
	defer s.mu.Unlock()
	s.kinds[kind]++
}

func (s *duplicateStorm) kindOf(a answer) string {
	said, again := a.header.Get("Idempotency-Status"), a.header.Get("Idempotent-Replayed")
	policy, _ := a.problem()["policy"].(string)
	switch {
	case a.status == 201 && a.body == strings.Repeat("once ", 400) && (said == "executed" && again == "" || said == "replayed" && again == "true"):
		return "201 " + said
	case a.status == 409 && a.kind() == "in-progress" && a.problem()["executed"] == "in_progress" && a.header.Get("Retry-After") != "":
		return "409 in-progress"
	case a.status == 429 && policy == "replays" && a.problem()["executed"] == "yes" && a.header.Get("Retry-After") != "":
		return "429 replays"
	}
	s.t.Errorf("%d %v: %.300s", a.status, a.header, a.body)
	return "other"
}

// watch notes how many duplicates wait, again and again.
func (s *duplicateStorm) watch(over <-chan struct{}) {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-over:
			return
		case <-tick.C:
		}
		_, text := s.get(s.admin, "/metrics")
		now := gauge(text, "gateway_dedup_waiting")
		if now > 0 && s.most == 0 {
			close(s.seen)
		}
		s.most = max(s.most, now)
		s.crowd = max(s.crowd, gauge(text, "go_goroutines"))
	}
}

// soon is eventually without the log, which is 10,000 lines long here.
func (s *duplicateStorm) soon(what string, holds func() bool) {
	s.t.Helper()
	for end := time.Now().Add(15 * time.Second); !holds(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			s.t.Fatalf("%s: not within 15 s", what)
		}
	}
}

// calm asks again when the storm is over: only the bound on replays may still refuse, and only for a while.
func (s *duplicateStorm) calm() {
	s.t.Helper()
	s.soon("a replay after the storm", func() bool {
		a, err := s.call("POST", "/storm", string(stormBody()), "Authorization", s.bearer, "Idempotency-Key", "storm-1", "Content-Type", "application/json")
		if err != nil {
			s.t.Fatal(err)
		}
		kind := s.kindOf(a)
		if kind != "201 replayed" && kind != "429 replays" {
			s.t.Fatalf("%s after the storm", kind)
		}
		return kind == "201 replayed"
	})
}

func stormBody() []byte { return bytes.Repeat([]byte("x"), 1024) }

// gauge reads a value of /metrics as a whole number; 0 when it is not there.
func gauge(text, name string) int {
	_, rest, _ := strings.Cut(text, "\n"+name+" ")
	digits, _, _ := strings.Cut(rest, "\n")
	n, _ := strconv.ParseFloat(digits, 64)
	return int(n)
}

// peak is the most memory that the gateway ever had, in KiB.
func (s *duplicateStorm) peak() int {
	s.t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", s.cmd.Process.Pid))
	if err != nil {
		s.t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(text), "VmHWM:")
	fields := strings.Fields(rest)
	if len(fields) == 0 {
		s.t.Fatalf("no VmHWM: %s", text)
	}
	n, err := strconv.Atoi(fields[0])
	if err != nil {
		s.t.Fatal(err)
	}
	return n
}
