package chaos

import (
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"
)

// caps are how large a gateway's figures may become under a storm, and how large they may be at rest.
var caps = []struct {
	name         string
	storm, still float64
}{
	{"go_goroutines", 2000, 200},
	{"process_open_fds", 1000, 300},
	{"process_resident_memory_bytes", 600 << 20, 600 << 20},
	{"gateway_dedup_backlog", 2048, 0},
	{"gateway_dedup_waiting", 1024, 0},
}

// Metrics gives the gateway's figures by name; those that have labels are added up.
func (g *Gateway) Metrics() map[string]float64 {
	client := http.Client{Timeout: time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	got, err := client.Get("http://" + g.Admin + "/metrics")
	if err != nil {
		return nil
	}
	defer got.Body.Close()
	text, err := io.ReadAll(got.Body)
	if err != nil {
		return nil
	}
	all := map[string]float64{}
	for _, line := range strings.Split(string(text), "\n") {
		at := strings.LastIndexByte(line, ' ')
		if at < 0 || line[0] == '#' {
			continue
		}
		name, _, _ := strings.Cut(line[:at], "{")
		if v, err := strconv.ParseFloat(line[at+1:], 64); err == nil {
			all[name] += v
		}
	}
	return all
}

// peaks are the largest figures that were seen while clients worked.
type peaks struct {
	mu   sync.Mutex
	most map[string]float64
}

// watch looks at the gateways until stop is closed.
func (p *peaks) watch(gateways []*Gateway, stop <-chan struct{}) {
	var group sync.WaitGroup
	for _, g := range gateways {
		group.Go(func() {
			for wait(300*time.Millisecond, stop) {
				p.note(g.Metrics())
			}
		})
	}
	group.Wait()
}

func (p *peaks) note(figures map[string]float64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.most == nil {
		p.most = map[string]float64{}
	}
	for _, c := range caps {
		p.most[c.name] = max(p.most[c.name], figures[c.name])
	}
}

// atRest is how long a gateway may take to come to rest: the backlog is tried again every 5 s at the latest, and a round of it may
// meet a primary that is not trusted yet.
const atRest = 20 * time.Second

// bounds gives what has to be small, in the storm and at rest.
func (w *work) bounds() (all []Bound) {
	for _, c := range caps {
		all = append(all, Bound{c.name + " in the storm", w.peaks.most[c.name], c.storm})
	}
	for _, g := range w.fleet.Gateways {
		figures := g.rested()
		w.known += int(figures["gateway_dedup_claims_lost_total"])
		for _, c := range caps {
			all = append(all, Bound{g.name + " " + c.name + " at rest", figures[c.name], c.still})
		}
	}
	return all
}

// rested gives the figures of a gateway that has come to rest, or those that it never did with.
func (g *Gateway) rested() map[string]float64 {
	for limit := time.Now().Add(atRest); ; {
		figures := g.Metrics()
		still := figures != nil
		for _, c := range caps {
			still = still && figures[c.name] <= c.still
		}
		if still || time.Now().After(limit) {
			return figures
		}
		wait(100*time.Millisecond, nil)
	}
}
