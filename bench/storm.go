package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"maps"
	"net"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/valyala/fasthttp"
)

const (
	duplicates       = 10000
	stormConnections = 256
	stormTime        = time.Second // in which all of them are sent
)

// documentStorm has a limit, because the replays of a route with limits are bounded, too; it never refuses here.
func documentStorm(wait string) func(b *bench) string {
	return func(b *bench) string {
		return fmt.Sprintf(`upstreams: { up: { targets: ["http://%s"] } }
rate_limits: { wide: { rate: 1000000/s, burst: 1000000, by: ip } }
routes:
  - { id: storm, match: { path: %s }, auth: none, rate_limits: [wide], dedup: { key: required, client: "header:X-Client", wait: %s }, to: up }
`, b.origin.address, stormPath, wait)
	}
}

// storm sends duplicates of one key while the first is on its way, and prints what became of them.
func (b *bench) storm() error {
	fmt.Printf("storm: %d duplicates of one key within %v over %d connections; the upstream takes %v for the first\n",
		duplicates, stormTime, stormConnections, stormPause)
	for _, wait := range []string{"0s", "1s"} {
		state := fmt.Sprintf("{ store: embedded, path: %q }", filepath.Join(b.dir, "storm-"+wait))
		p, err := b.oncegateOn(state, documentStorm(wait)(b))
		if err != nil {
			return err
		}
		err = b.stormOn("wait: "+wait, p)
		p.stop()
		if err != nil {
			return fmt.Errorf("wait: %s: %w", wait, err)
		}
	}
	fmt.Println()
	return nil
}

func (b *bench) stormOn(name string, p *process) error {
	before, ran := p.memory("VmHWM"), b.origin.storms.Load()
	request := appendWrite(nil, stormPath, b.keys.Add(1))
	kinds, took, err := tempest(p.address, request)
	if err != nil {
		return err
	}
	ran = b.origin.storms.Load() - ran
	fmt.Printf("  %-10s %d executions; all answered after %.2f s; peak of resident memory %.1f MiB, +%.1f MiB; now %.1f MiB\n", name, ran, took.Seconds(),
		float64(p.memory("VmHWM"))/1024, float64(p.memory("VmHWM")-before)/1024, float64(p.memory("VmRSS"))/1024)
	for _, kind := range slices.Sorted(maps.Keys(kinds)) {
		fmt.Printf("    %6d x %s\n", kinds[kind], kind)
	}
	if ran != 1 {
		return fmt.Errorf("%d executions", ran)
	}
	return nil
}

// tempest sends the duplicates, each at its time, and counts the answers by kind.
func tempest(address string, request []byte) (map[string]int, time.Duration, error) {
	var mu sync.Mutex
	kinds, errs := map[string]int{}, make(chan error, stormConnections)
	begin := time.Now().Add(200 * time.Millisecond) // all connections are open by then
	for i := range stormConnections {
		go func() {
			errs <- gust(address, request, begin, i, func(kind string) {
				mu.Lock()
				defer mu.Unlock()
				kinds[kind]++
			})
		}()
	}
	var first error
	for range stormConnections {
		if err := <-errs; err != nil && first == nil {
			first = err
		}
	}
	return kinds, time.Since(begin), first
}

// gust is what connection i sends: every 256th duplicate.
func gust(address string, request []byte, begin time.Time, i int, count func(kind string)) error {
	conn, err := net.DialTimeout("tcp", address, 5*time.Second)
	if err != nil {
		return err
	}
	defer conn.Close()
	reader := bufio.NewReader(conn)
	var answer fasthttp.Response
	for n := i; n < duplicates; n += stormConnections {
		time.Sleep(time.Until(begin.Add(stormTime * time.Duration(n) / duplicates))) // late ones go at once
		if err := exchange(conn, reader, request, &answer); err != nil {
			return err
		}
		count(kindOf(&answer))
	}
	return nil
}

// kindOf is an answer in a few words.
func kindOf(answer *fasthttp.Response) string {
	if said := answer.Header.Peek("Idempotency-Status"); len(said) > 0 && answer.StatusCode() < 400 {
		return fmt.Sprintf("%d %s", answer.StatusCode(), said)
	}
	var problem struct{ Type, Policy string }
	_ = json.Unmarshal(answer.Body(), &problem)
	return strings.TrimSpace(fmt.Sprintf("%d %s %s", answer.StatusCode(), strings.TrimPrefix(problem.Type, "urn:oncegate:problem:"), problem.Policy))
}
