package redis

import (
	"context"
	"fmt"
	"sync/atomic"

	goredis "github.com/redis/go-redis/v9"

	"github.com/oncegate/oncegate/internal/redisconn"
)

// fleet knows the servers: one, or the one that the sentinels call the primary, or those of a cluster.
type fleet struct {
	source  *Source
	single  atomic.Pointer[node]
	cluster *cluster // nil: not a cluster
}

func newFleet(s *Source) *fleet {
	f := &fleet{source: s}
	if s.cfg.Mode == redisconn.Cluster {
		f.cluster = newCluster(s)
	}
	return f
}

// find does once what has to be known before place can tell anything.
func (f *fleet) find(ctx context.Context) error {
	cfg := f.source.cfg
	switch {
	case f.cluster != nil:
		return f.cluster.find(ctx)
	case f.single.Load() != nil:
		return nil
	case cfg.Mode == redisconn.Sentinel:
		client, err := cfg.Server.Sentinels(ctx, cfg.bounds())
		if err == nil {
			f.single.Store(newNode(f.source, client))
		}
		return err
	}
	f.single.Store(newNode(f.source, goredis.NewClient(cfg.Server.Options(cfg.Addresses[0], cfg.bounds()))))
	return nil
}

// place is the server of a key; nil when none is known. It does not wait.
func (f *fleet) place(key string) *node {
	if f.cluster != nil {
		return f.cluster.place(key)
	}
	return f.single.Load()
}

// send gives a call to the server of its key.
func (f *fleet) send(c *call) {
	if n := f.place(c.key); n != nil {
		n.send(c)
		return
	}
	go c.done(nil, ErrDown)
}

// redirect sends a call to where a cluster says that it belongs.
func (f *fleet) redirect(c *call, addr string) {
	if f.cluster != nil {
		f.cluster.redirect(c, addr)
		return
	}
	c.done(nil, fmt.Errorf("redis: a node of a cluster sends a call to %s: set mode to cluster", addr))
}

// refresh has the view renewed in the background. A new connection to what sentinels watch asks them anyway.
func (f *fleet) refresh() {
	if f.cluster != nil {
		f.cluster.refresh()
	}
}

func (f *fleet) all() []*node {
	if f.cluster != nil {
		return f.cluster.all()
	}
	if n := f.single.Load(); n != nil {
		return []*node{n}
	}
	return nil
}

func (f *fleet) close() {
	for _, n := range f.all() {
		n.close()
	}
}

// disconnect ends the connections.
func (f *fleet) disconnect() {
	if f.cluster != nil {
		_ = f.cluster.client.Close()
	}
	if n := f.single.Load(); n != nil {
		_ = n.client.Close()
	}
}
