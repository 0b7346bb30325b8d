package upstream

import (
	"net"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/oncegate/oncegate/internal/pipeline"
	"github.com/oncegate/oncegate/internal/units"
	"github.com/oncegate/oncegate/internal/upstream/dnstest"
)

// neighbours are upstreams at 127.0.0.1 to 127.0.0.n with one port, one for each script.
func neighbours(t *testing.T, scripts ...func(*peer)) (fakes []*fake, port int) {
	t.Helper()
	n := len(scripts)
	for range 50 {
		var list []net.Listener
		at := "0"
		for i := range n {
			ln, err := net.Listen("tcp", "127.0.0."+strconv.Itoa(i+1)+":"+at)
			if err != nil {
				break
			}
			port = ln.Addr().(*net.TCPAddr).Port
			at, list = strconv.Itoa(port), append(list, ln)
		}
		if len(list) == n {
			for i, ln := range list {
				fakes = append(fakes, startFake(t, ln, "http", scripts[i]))
			}
			return fakes, port
		}
		for _, ln := range list {
			_ = ln.Close()
		}
	}
	if runtime.GOOS == "linux" {
		t.Fatal("no port is free on all of them")
	}
	t.Skip("this machine has no 127.0.0.2")
	return nil, 0
}

var fineScript = answering(okAnswer)

const refresh = 100 * time.Millisecond

func byDNS(dns *dnstest.Server, port int) Config {
	cfg := several()
	cfg.DNS = &DNSConfig{Name: "Orders.test.", Port: port, Scheme: "http", Refresh: units.Duration(refresh), Keep: 5, Family: "ipv4", Resolver: dns.Addr}
	return cfg
}

func (r *rig) addresses() string {
	var list []string
	for _, info := range r.Targets() {
		list = append(list, strings.TrimSuffix(info.Address, ":"+strconv.Itoa(r.cfg.DNS.Port)))
	}
	return strings.Join(list, " ")
}

func (r *rig) becomes(t *testing.T, addresses string) {
	t.Helper()
	eventually(t, "targets "+addresses, func() bool { return r.addresses() == addresses })
}

// The answer of DNS is what is called, with the name in Host where the target's own is wanted; it follows changes.
func TestDNSGivesTheTargets(t *testing.T) {
	fakes, port := neighbours(t, fineScript, fineScript, fineScript)
	dns := dnstest.New(t)
	dns.Says(dnstest.NoError, "127.0.0.2", "127.0.0.1")
	log := &logged{}
	r := newLoggedRig(t, byDNS(dns, port), log)
	if got := r.addresses(); got != "127.0.0.1 127.0.0.2" {
		t.Errorf("at the start: %q", got)
	}
	if bad := r.errors(t, 10); bad != 0 || len(fakes[0].requests()) != 5 || len(fakes[1].requests()) != 5 {
		t.Errorf("%d errors, %d and %d calls", bad, len(fakes[0].requests()), len(fakes[1].requests()))
	}
	if target := r.set.Load().targets[0]; target.host != "orders.test:"+strconv.Itoa(port) || target.name != "orders.test" {
		t.Errorf("host %s, name %s", target.host, target.name)
	}
	dns.Says(dnstest.NoError, "127.0.0.3")
	r.becomes(t, "127.0.0.3")
	r.errors(t, 5)
	if len(fakes[2].requests()) != 5 {
		t.Errorf("%d calls at the new target", len(fakes[2].requests()))
	}
	if info := r.Info(); !info.Discovered || info.Lookups < 2 || info.Stale || !strings.Contains(log.String(), "DNS gives other targets") {
		t.Errorf("%+v; %s", info, log)
	}
}

// Edge case 25: an address that left the answer gets nothing after one refresh, its idle connections are closed, and what runs
// there finishes. When it comes back nothing is left of what it was.
func TestDNSRemovedTargetDrains(t *testing.T) {
	release := make(chan struct{})
	var closed atomic.Int32
	fakes, port := neighbours(t, func(p *peer) {
		for s := p.request(); s != nil; s = p.request() {
			if s.id == "slow" {
				<-release
			}
			p.send(okAnswer)
		}
		closed.Add(1)
	}, fineScript)
	dns := dnstest.New(t)
	dns.Says(dnstest.NoError, "127.0.0.1")
	r := newLoggedRig(t, byDNS(dns, port), &logged{})
	var wait sync.WaitGroup
	wait.Go(func() {
		if body, err := r.do(with("POST", "slow")); string(body) != "ok" || err != nil {
			t.Errorf("the call that ran: %q, %v", body, err)
		}
	})
	eventually(t, "the slow call runs", func() bool { return len(fakes[0].requests()) == 1 })
	r.errors(t, 3) // leaves an idle connection
	old := r.set.Load().targets[0].node
	dns.Says(dnstest.NoError, "127.0.0.2")
	changed := time.Now()
	r.becomes(t, "127.0.0.2")
	if late := time.Since(changed); late > 3*refresh+time.Second {
		t.Errorf("took %v", late)
	}
	eventually(t, "its idle connection is closed", func() bool { return closed.Load() == 1 })
	before := len(fakes[0].requests())
	if bad := r.errors(t, 20); bad != 0 || len(fakes[0].requests()) != before {
		t.Errorf("%d errors, %d calls at the old address", bad, len(fakes[0].requests())-before)
	}
	close(release)
	wait.Wait()
	eventually(t, "the running call's connection is closed", func() bool { return closed.Load() == 2 })
	dns.Says(dnstest.NoError, "127.0.0.1", "127.0.0.2")
	r.becomes(t, "127.0.0.1 127.0.0.2")
	if r.set.Load().targets[0].node == old {
		t.Error("an address that was gone is taken for what it was")
	}
}

// Edge case 26: servers that fail, or say for a moment that there is nothing, take nothing away.
func TestDNSKeepsTheLastGoodAnswer(t *testing.T) {
	fakes, port := neighbours(t, fineScript)
	dns := dnstest.New(t)
	dns.Says(dnstest.NoError, "127.0.0.1")
	log := &logged{}
	r := newLoggedRig(t, byDNS(dns, port), log)
	asked := func(what string, n uint64, read func(Info) uint64) {
		from := read(r.Info())
		eventually(t, what, func() bool { return read(r.Info()) >= from+n })
	}
	dns.Says(dnstest.ServFail)
	asked("failing look-ups", 8, func(i Info) uint64 { return i.FailedLookups })
	if bad := r.errors(t, 3); bad != 0 || !r.Info().Stale {
		t.Errorf("%d errors, %+v", bad, r.Info())
	}
	dns.Says(dnstest.NXDomain)
	asked("look-ups that find nothing", 3, func(i Info) uint64 { return i.Empty })
	dns.Says(dnstest.NoError)
	asked("an empty answer", 1, func(i Info) uint64 { return i.Empty })
	if bad := r.errors(t, 3); bad != 0 {
		t.Errorf("%d errors after four empty answers", bad)
	}
	dns.Says(dnstest.NoError, "127.0.0.1")
	asked("a good one", 1, func(i Info) uint64 { return i.Lookups })
	if r.Info().Stale || len(fakes[0].requests()) != 6 {
		t.Errorf("%+v, %d calls", r.Info(), len(fakes[0].requests()))
	}
	dns.Says(dnstest.NXDomain)
	r.becomes(t, "") // the fifth in a row
	_, err := r.do(with("POST", "x"))
	wantKind(t, err, pipeline.UpstreamOpen)
	dns.Says(dnstest.NoError, "127.0.0.1")
	r.becomes(t, "127.0.0.1")
	for _, words := range []string{"the last good answer stays", "DNS look-up works again"} {
		if !strings.Contains(log.String(), words) {
			t.Errorf("%q is not in the log: %s", words, log)
		}
	}
}

// A gateway that starts while DNS is down starts, refuses, and finds the targets later.
func TestDNSDownAtTheStart(t *testing.T) {
	_, port := neighbours(t, fineScript)
	dns := dnstest.New(t)
	dns.Says(dnstest.ServFail)
	start := time.Now()
	r := newLoggedRig(t, byDNS(dns, port), &logged{})
	if took := time.Since(start); took > firstLook+time.Second {
		t.Errorf("the start took %v", took)
	}
	m := with("POST", "x")
	_, err := r.do(m)
	wantKind(t, err, pipeline.UpstreamOpen)
	if m.Effect != pipeline.EffectNone || m.Attempt.Count != 0 {
		t.Errorf("%+v", m.Attempt)
	}
	dns.Says(dnstest.NoError, "127.0.0.1")
	r.becomes(t, "127.0.0.1")
	if r.errors(t, 3) != 0 {
		t.Error("still refused")
	}
}

// A reload asks for the name again only when what is asked changed, and targets keep their state.
func TestDNSOutlivesReloads(t *testing.T) {
	fakes, port := neighbours(t, answering(busy), fineScript)
	dns := dnstest.New(t)
	dns.Says(dnstest.NoError, "127.0.0.1", "127.0.0.2")
	r := newLoggedRig(t, byDNS(dns, port), &logged{})
	r.errors(t, 20)
	r.wantStates(t, "ejected up")
	dns.Says(dnstest.ServFail)
	cfg := byDNS(dns, port)
	cfg.Balance = "least_request"
	next, err := New("orders", cfg, r.pools, nil)
	if err != nil {
		t.Fatal(err)
	}
	FirstLook(t.Context(), []*Upstream{next}) // knows already
	r.Upstream = next
	r.live()
	r.wantStates(t, "ejected up")
	dns.Says(dnstest.NoError, "127.0.0.2")
	r.becomes(t, "127.0.0.2")
	cfg.DNS = nil
	cfg.Targets = []TargetConfig{{URL: fakes[1].url, Weight: 1}}
	if r.Upstream, err = New("orders", cfg, r.pools, nil); err != nil {
		t.Fatal(err)
	}
	r.live()
	settled := func() bool { a := dns.Asked(); time.Sleep(3 * refresh); return dns.Asked() == a }
	eventually(t, "nobody asks any more", settled)
	if r.errors(t, 3) != 0 {
		t.Error("the fixed target is not called")
	}
}
