package observe

import (
	"maps"
	"sync"
	"sync/atomic"
)

// cached finds a metric by its labels without a lock or an allocation. The map is replaced when a label is new, which
// happens as often as the document names things.
type cached[K comparable, V any] struct {
	make  func(K) V
	mu    sync.Mutex
	known atomic.Pointer[map[K]V]
}

func (c *cached[K, V]) get(key K) V {
	if known := c.known.Load(); known != nil {
		if v, ok := (*known)[key]; ok {
			return v
		}
	}
	return c.add(key)
}

func (c *cached[K, V]) add(key K) V {
	c.mu.Lock()
	defer c.mu.Unlock()
	next := map[K]V{}
	if known := c.known.Load(); known != nil {
		if v, ok := (*known)[key]; ok {
			return v
		}
		maps.Copy(next, *known)
	}
	v := c.make(key)
	next[key] = v
	c.known.Store(&next)
	return v
}

// all is a view of what is known now; it must not be changed.
func (c *cached[K, V]) all() map[K]V {
	if known := c.known.Load(); known != nil {
		return *known
	}
	return nil
}
