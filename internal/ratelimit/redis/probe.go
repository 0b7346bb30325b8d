package redis

import (
	"errors"
	"time"

	goredis "github.com/redis/go-redis/v9"
)

// judge counts a round trip.
func (n *node) judge(ok bool, sample string, began time.Time) {
	if ok {
		n.breaker.record(true, began, time.Now())
		return
	}
	n.mu.Lock()
	n.sample = sample
	n.mu.Unlock()
	if !n.breaker.record(false, began, time.Now()) {
		return
	}
	n.owner.rec.StoreState(n.addr, true)
	n.owner.log.Warn("redis does not answer: shared limits do what on_store_failure says", "server", n.addr)
	n.drain(ErrDown)
	n.missed.Store(0)
	n.probeIn(n.nextProbe())
}

// nextProbe is soon at first: what was slow for a moment is asked again in a moment, what is down every half second.
func (n *node) nextProbe() time.Duration {
	return jittered(min(probeEvery, probeFirst<<min(n.missed.Add(1)-1, 8)))
}

func (n *node) probeIn(d time.Duration) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.closed {
		return
	}
	n.probe = time.AfterFunc(d, n.sendProbe)
}

// sendProbe takes a token of a bucket that is only for this: a script that writes, in a slot that failed. The first one may have
// to make a connection; those after it have to be as fast as any call.
func (n *node) sendProbe() {
	wait := n.owner.cfg.patience
	if !n.breaker.halfway() {
		wait = max(wait, dialTimeout)
	}
	n.mu.Lock()
	key := n.owner.names.probe(n.sample)
	n.mu.Unlock()
	n.send(&call{
		script: bucketScript, key: key, args: []any{1, 1, 1, 0}, probe: true, due: time.Now().Add(wait),
		done: func(_ any, err error) { n.probed(err) },
	})
}

func (n *node) probed(err error) {
	if errors.Is(err, goredis.ErrClosed) || errors.Is(err, ErrDown) { // it left the cluster, or we close
		if c := n.owner.fleet.cluster; c != nil {
			c.drop(n)
		}
		return
	}
	ok := !fault(err)
	if !ok {
		n.owner.fleet.refresh()
	}
	if n.breaker.probed(ok) {
		n.owner.rec.StoreState(n.addr, false)
		n.owner.log.Info("redis answers again", "server", n.addr)
		n.owner.poke()
		return
	}
	if ok {
		n.probeIn(probeAgain)
		return
	}
	n.probeIn(n.nextProbe())
}
