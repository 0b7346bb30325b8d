package upstream

import (
	"sync"
	"time"

	"github.com/oncegate/oncegate/internal/upstream/h1"
)

// Pools holds the connections to all targets, one pool for each identity: scheme, host and port, and how TLS is verified. It
// lives beside the snapshots, so that a reload closes no connection of a target that stays.
type Pools struct {
	mu   sync.Mutex
	all  map[poolKey]*h1.Pool // bounded by the targets of live documents: Sweep removes the rest
	stop chan struct{}
	done chan struct{}
	once sync.Once
}

type poolKey struct {
	scheme, addr string
	tls          [32]byte
}

const expireEvery = time.Second

// NewPools starts with no connections. Close ends its goroutine.
func NewPools() *Pools {
	p := &Pools{all: map[poolKey]*h1.Pool{}, stop: make(chan struct{}), done: make(chan struct{})}
	go p.expire()
	return p
}

func (p *Pools) expire() {
	defer close(p.done)
	tick := time.NewTicker(expireEvery)
	defer tick.Stop()
	for {
		select {
		case now := <-tick.C:
			for _, pool := range p.list() {
				pool.Expire(now)
			}
		case <-p.stop:
			return
		}
	}
}

func (p *Pools) list() []*h1.Pool {
	p.mu.Lock()
	defer p.mu.Unlock()
	pools := make([]*h1.Pool, 0, len(p.all))
	for _, pool := range p.all {
		pools = append(pools, pool)
	}
	return pools
}

func (p *Pools) get(where endpoint, id *tlsIdentity) *h1.Pool {
	key := poolKey{scheme: where.scheme, addr: where.addr}
	dialer := &h1.Dialer{Addr: where.addr}
	if where.scheme == "https" {
		key.tls = id.sum
		dialer.TLS = id.config(where.name)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	pool := p.all[key]
	if pool == nil {
		pool = h1.NewPool(dialer)
		p.all[key] = pool
	}
	return pool
}

// Sweep closes the pools that no live upstream uses. Exchanges that run on them finish.
func (p *Pools) Sweep(live []*Upstream) {
	keep := map[*h1.Pool]bool{}
	for _, u := range live {
		for _, t := range u.targets {
			keep[t.pool] = true
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for key, pool := range p.all {
		if !keep[pool] {
			delete(p.all, key)
			pool.Close()
		}
	}
}

// Close closes all idle connections and keeps none from now on.
func (p *Pools) Close() {
	p.once.Do(func() { close(p.stop) })
	<-p.done
	for _, pool := range p.list() {
		pool.Close()
	}
}
