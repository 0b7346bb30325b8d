package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// scenario is one load and the contestants that carry it; the first is what the others are compared with.
type scenario struct {
	name, about string
	request     func(token string) string
	contestants []contestant
	send        func(address string, n int) error // in place of request over HTTP/1.1; may be nil
}

type contestant struct {
	name  string
	start func(b *bench) (*process, error) // nil process: not installed here
	// document is what ours runs, also for other builds of it; nil: a stranger.
	document func(b *bench) string
}

func ours(document func(*bench) string) contestant {
	return contestant{"oncegate", oncegate(document), document}
}

// all are the contestants of a scenario with the other builds that were asked for.
func (b *bench) all(s scenario) []contestant {
	all := slices.Clone(s.contestants)
	for _, path := range b.against {
		for _, c := range s.contestants {
			if c.document != nil {
				all = append(all, contestant{name: "oncegate " + path, start: func(b *bench) (*process, error) {
					return b.oncegateBy(path, "{ store: memory }", c.document(b))
				}})
			}
		}
	}
	return all
}

func get(token string) string {
	return "GET /api/orders/42?full=1 HTTP/1.1\r\nHost: bench.test\r\nUser-Agent: bench/1\r\nAccept: application/json\r\n" +
		"Accept-Encoding: gzip\r\nX-Client-Version: 7.1.3\r\nCache-Control: no-cache\r\nAuthorization: Bearer " + token + "\r\n\r\n"
}

func post(token string) string {
	return strings.Replace(strings.TrimSuffix(get(token), "\r\n"), "GET", "POST", 1) +
		"Content-Type: application/json\r\nContent-Length: 1024\r\n\r\n" + string(kilobyte)
}

func bareStart(b *bench) (*process, error) {
	address := freeAddress()
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	return spawn(address, os.DevNull, self, "bare", address, b.origin.address)
}

// run measures a scenario and prints its row.
func (b *bench) run(s scenario) error {
	token, err := b.token()
	if err != nil {
		return err
	}
	var names []string
	var running []*process
	defer func() {
		for _, p := range running {
			p.stop()
		}
	}()
	for _, c := range b.all(s) {
		p, err := c.start(b)
		if err != nil {
			return fmt.Errorf("%s: %w", c.name, err)
		}
		if p != nil {
			names, running = append(names, c.name), append(running, p)
		}
	}
	request := []byte(s.request(token))
	samples := make([][]time.Duration, len(running))
	for round := range b.rounds + 1 {
		for i, p := range running {
			before := p.cpu()
			if err := s.load(p.address, request, b.requests); err != nil {
				return fmt.Errorf("%s: %w", names[i], err)
			}
			if round > 0 { // the first warms up
				samples[i] = append(samples[i], p.cpu()-before)
			}
		}
	}
	report(s, names, samples, b.requests)
	return nil
}

func (s *scenario) load(address string, request []byte, n int) error {
	if s.send != nil {
		return s.send(address, n)
	}
	return load(address, request, n)
}

func report(s scenario, names []string, samples [][]time.Duration, requests int) {
	fmt.Printf("%s: %s\n", s.name, s.about)
	for i, name := range names {
		ratios := make([]float64, len(samples[i]))
		for j := range ratios {
			ratios[j] = float64(samples[i][j]) / float64(samples[0][j])
		}
		slices.Sort(ratios)
		fmt.Printf("  %-28s %6.1f us CPU a request   ratio %.2f (%.2f to %.2f), of the quieter rounds %.2f\n", name,
			float64(median(samples[i]).Microseconds())/float64(requests), ratios[len(ratios)/2], ratios[0], ratios[len(ratios)-1],
			float64(lowQuarter(samples[i]))/float64(lowQuarter(samples[0])))
	}
	fmt.Println()
}

// lowQuarter is the lower quartile: neighbours on the machine make rounds dearer, never cheaper.
func lowQuarter(d []time.Duration) time.Duration {
	sorted := slices.Sorted(slices.Values(d))
	return sorted[len(sorted)/4]
}

func median(d []time.Duration) time.Duration {
	sorted := slices.Sorted(slices.Values(d))
	return sorted[len(sorted)/2]
}

// token asks the gateway itself for a token of the bench's issuer.
func (b *bench) token() (string, error) {
	file, err := b.document(documentChain(b), freeAddress())
	if err != nil {
		return "", err
	}
	out, err := exec.Command(b.binary, "token", "-config", file, "-issuer", "main", "-sub", "bench", "-scope", "orders:read").Output()
	return strings.TrimSpace(string(out)), err
}

func (b *bench) document(body, address string) (string, error) {
	return b.documentOn("{ store: memory }", body, address)
}

// documentOn writes a document with the state that is given.
func (b *bench) documentOn(state, body, address string) (string, error) {
	return b.documentIn(freeAddress(), state, body, address)
}

// documentAt writes one whose admin address is given.
func (b *bench) documentAt(admin, body, address string) (string, error) {
	return b.documentIn(admin, "{ store: memory }", body, address)
}

func (b *bench) documentIn(admin, state, body, address string) (string, error) {
	listen := ""
	if rest, ok := strings.CutPrefix(body, tlsMark); ok {
		listen, body, _ = strings.Cut(rest, "\n")
	}
	text := fmt.Sprintf("version: 1\nlisten: {%s address: %q, drain: { notice: 0s, timeout: 5s } }\nadmin: { address: %q }\nstate: %s\n%s", listen, address, admin, state, body)
	file := filepath.Join(b.dir, fmt.Sprintf("gateway-%s.yaml", strings.ReplaceAll(address, ":", "-")))
	return file, os.WriteFile(file, []byte(text), 0o600)
}

// oncegate starts the gateway with a document; its access log goes to a file.
func oncegate(document func(*bench) string) func(*bench) (*process, error) {
	return func(b *bench) (*process, error) { return b.oncegateOn("{ store: memory }", document(b)) }
}

func (b *bench) oncegateOn(state, body string) (*process, error) {
	return b.oncegateBy(b.binary, state, body)
}

func (b *bench) oncegateBy(binary, state, body string) (*process, error) {
	address := freeAddress()
	file, err := b.documentOn(state, body, address)
	if err != nil {
		return nil, err
	}
	return spawn(address, file+".log", binary, "run", "-config", file)
}
