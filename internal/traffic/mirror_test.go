package traffic

import (
	"context"
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/oncegate/oncegate/internal/pipeline"
	"github.com/oncegate/oncegate/internal/units"
)

type mirrored struct {
	mu   sync.Mutex
	seen map[string]int
}

func (m *mirrored) Mirrored(_, result string) {
	m.mu.Lock()
	m.seen[result]++
	m.mu.Unlock()
}

// copies notes what arrives at the mirror.
type copies struct {
	mu   sync.Mutex
	got  []string
	take time.Duration
	err  error
}

func (c *copies) Serve(ctx context.Context, x *pipeline.Exchange) error {
	select {
	case <-time.After(c.take):
	case <-ctx.Done():
		return ctx.Err()
	}
	text := string(x.Request.Method())
	if b := x.Request.Body(); b != nil {
		all, _ := io.ReadAll(b)
		text += " " + string(all)
	}
	for _, f := range x.Outgoing.Fields() {
		text += " " + f.Name + "=" + string(f.Value)
	}
	c.mu.Lock()
	c.got = append(c.got, text)
	c.mu.Unlock()
	if c.err != nil {
		panic(c.err)
	}
	return nil
}

func usual() Mirror { return Mirror{Upstream: "m", Share: 1, Body: 64 << 10, InFlight: 2} }

// Edge cases 44 and 45, fault injection 25: what becomes of copies is nobody's business; too many are dropped.
func TestMirror(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		to, rec := &copies{take: time.Second}, &mirrored{seen: map[string]int{}}
		all := NewMirrors(rec)
		h := all.Layer(usual(), to, nil)(named("up"))
		began := time.Now()
		for range 5 {
			from(t, h, pipeline.NewMemory("GET", "/"))
		}
		if took := time.Since(began); took > 0 {
			t.Errorf("the mirror took %v of the request's time", took)
		}
		time.Sleep(2 * time.Second)
		from(t, h, pipeline.NewMemory("POST", "/").WithBody([]byte("body")).WithHeader("Authorization", "secret").WithHeader("Cookie", "secret"))
		from(t, h, pipeline.NewMemory("POST", "/").WithBody(make([]byte, 64<<10+1)))
		from(t, h, pipeline.NewMemory("POST", "/").WithChunkedBody([]byte("x")))
		time.Sleep(2 * time.Second)
		all.Close()
		if rec.seen["sent"] != 3 || rec.seen["dropped"] != 3 || rec.seen["skipped"] != 2 {
			t.Errorf("%v", rec.seen)
		}
		if got := to.got[2]; got != "POST body Idempotency-Key= X-Gateway-Mirror=1 Authorization= Cookie=" {
			t.Errorf("the copy is %q", got)
		}
		from(t, h, pipeline.NewMemory("GET", "/")) // after the end: no copy, and no harm
	})
}

// Close ends copies that hang, and one that panics ends nobody.
func TestMirrorsEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rec := &mirrored{seen: map[string]int{}}
		all := NewMirrors(rec)
		from(t, all.Layer(usual(), &copies{err: io.EOF}, nil)(named("up")), pipeline.NewMemory("GET", "/"))
		synctest.Wait()
		from(t, all.Layer(usual(), &copies{take: time.Hour}, nil)(named("up")), pipeline.NewMemory("GET", "/"))
		synctest.Wait()
		all.Close()
		if rec.seen["failed"] != 2 || len(all.busy) > 0 {
			t.Errorf("%v, %v", rec.seen, all.busy)
		}
	})
}

func TestMirrorShare(t *testing.T) {
	rec := &mirrored{seen: map[string]int{}}
	all := NewMirrors(rec)
	cfg := usual()
	cfg.Share, cfg.InFlight = units.Share(0.1), 10000
	h := all.Layer(cfg, named("m"), nil)(named("up"))
	for range many {
		from(t, h, pipeline.NewMemory("GET", "/"))
	}
	all.Close()
	within(t, "copies", rec.seen["sent"], many, 0.1)
}

// What can't be kept from the mirror is not sent there; a token of the gateway's own is taken off however it is written.
func TestNoSecretForWantOfRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		to, rec := &copies{}, &mirrored{seen: map[string]int{}}
		all := NewMirrors(rec)
		h := all.Layer(usual(), to, nil)(named("up"))
		full := pipeline.NewMemory("GET", "/")
		for i := 0; full.Outgoing.Set(fmt.Sprintf("X-%d", i), []byte("1")); i++ {
		}
		from(t, h, full)
		own := pipeline.NewMemory("GET", "/")
		own.Outgoing.Set("authorization", []byte("Bearer internal"))
		from(t, h, own)
		time.Sleep(time.Millisecond)
		all.Close()
		if rec.seen["skipped"] != 1 || rec.seen["sent"] != 1 || len(all.busy) > 0 || strings.Contains(to.got[0], "internal") {
			t.Errorf("%v, %q", rec.seen, to.got)
		}
	})
}
