package redis

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	goredis "github.com/redis/go-redis/v9"
)

// cluster takes from go-redis' cluster client what it knows of slots and connections. Calls go to its clients of single servers:
// itself it would repeat calls of which nobody knows whether they were executed.
type cluster struct {
	source *Source
	client *goredis.ClusterClient
	found  atomic.Bool

	mu    sync.RWMutex
	nodes map[string]*node // by address
}

func newCluster(s *Source) *cluster {
	c := &cluster{source: s, nodes: map[string]*node{}}
	c.client = s.cfg.Server.Cluster(s.cfg.bounds())
	c.client.OnNewNode(func(client *goredis.Client) { c.add(client) })
	return c
}

// add takes a server in; one that left and came back has a new client.
func (c *cluster) add(client *goredis.Client) *node {
	c.mu.Lock()
	defer c.mu.Unlock()
	addr := client.Options().Addr
	old := c.nodes[addr]
	if old != nil && old.client == client {
		return old
	}
	if old != nil {
		go old.close() // it answers who still waits
	}
	n := newNode(c.source, client)
	c.nodes[addr] = n
	return n
}

func (c *cluster) find(ctx context.Context) error {
	if c.found.Load() {
		return nil
	}
	if _, err := c.client.MasterForKey(ctx, c.source.names.secret()); err != nil {
		return err
	}
	c.found.Store(true)
	return nil
}

func (c *cluster) place(key string) *node {
	if !c.found.Load() {
		return nil // it would ask for the slots, and wait
	}
	client, err := c.client.MasterForKey(context.Background(), key)
	if err != nil {
		c.refresh()
		return nil
	}
	c.mu.RLock()
	n := c.nodes[client.Options().Addr]
	c.mu.RUnlock()
	if n == nil || n.client != client {
		n = c.add(client)
	}
	return n
}

// redirect follows to a server that is known, at first at once; else the new view tells.
func (c *cluster) redirect(cl *call, addr string) {
	c.refresh()
	c.mu.RLock()
	n := c.nodes[addr]
	c.mu.RUnlock()
	if n != nil && cl.hops == 1 {
		n.send(cl)
		return
	}
	again := func() {
		if n == nil && !cl.asking {
			n = c.place(cl.key)
		}
		if n == nil {
			cl.done(nil, ErrDown)
			return
		}
		n.send(cl)
	}
	if !c.source.after(slotBackoff, again) {
		cl.done(nil, ErrDown)
	}
}

const slotBackoff = 5 * time.Millisecond

func (c *cluster) refresh() {
	if c.found.Load() {
		c.client.ReloadState(context.Background())
	}
}

func (c *cluster) all() []*node {
	c.mu.RLock()
	defer c.mu.RUnlock()
	list := make([]*node, 0, len(c.nodes))
	for _, n := range c.nodes {
		list = append(list, n)
	}
	return list
}

// drop forgets a server that left.
func (c *cluster) drop(n *node) {
	n.close()
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.nodes[n.addr] == n {
		delete(c.nodes, n.addr)
	}
}
