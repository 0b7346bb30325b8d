package leases

import (
	"context"
	"fmt"
	"hash/maphash"
	"testing"
	"unsafe"

	"github.com/oncegate/oncegate/internal/ratelimit"
)

// warm is a gateway that holds more tokens than a test takes.
func warm(t testing.TB, l *ratelimit.Limit, keys int) (*Store, [][]ratelimit.Charge) {
	s := start(t, newLink(newIdeal(), 0), Config{})
	requests := make([][]ratelimit.Charge, keys)
	for i := range requests {
		requests[i] = []ratelimit.Charge{charge(l, fmt.Sprint(i), 1)}
		if _, err := s.Take(context.Background(), requests[i]); err != nil {
			t.Fatal(err)
		}
		e := s.find(maphash.Bytes(s.seed, requests[i][0].Key), &requests[i][0], s.now())
		e.held = 1 << 40
	}
	return s, requests
}

func TestDecisionFromMemoryDoesNotAllocate(t *testing.T) {
	l := fixture{rate: "1000000/s"}.limit(t, "x")
	s, requests := warm(t, l, 3)
	three := []ratelimit.Charge{requests[0][0], requests[1][0], requests[2][0]}
	for name, charges := range map[string][]ratelimit.Charge{"one": requests[0], "three": three} {
		if n := testing.AllocsPerRun(1000, func() {
			if ok, err := s.Take(context.Background(), charges); !ok || err != nil {
				t.Fatal(ok, err)
			}
		}); n != 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
	denied := fixture{rate: "1/h", burst: 1}.limit(t, "denied")
	refusal := []ratelimit.Charge{charge(denied, "", 1)}
	for range 3 {
		_, _ = s.Take(context.Background(), refusal)
	}
	if n := testing.AllocsPerRun(1000, func() { _, _ = s.Take(context.Background(), refusal) }); n > 0.1 {
		t.Errorf("a refusal from memory: %v allocations", n)
	}
}

// An entry fits its size class: with the map's part some 200 bytes a key.
func TestEntryIsSmall(t *testing.T) {
	if size := unsafe.Sizeof(entry{}); size > 192 {
		t.Errorf("an entry has %d bytes", size)
	}
	if size := unsafe.Sizeof(shard{}); size != 128 {
		t.Errorf("a shard has %d bytes, want two cache lines", size)
	}
}

func BenchmarkTake(b *testing.B) {
	l := fixture{rate: "1000000/s"}.limit(b, "x")
	for _, keys := range []int{1, 1000} {
		s, requests := warm(b, l, keys)
		b.Run(fmt.Sprintf("leases/keys=%d", keys), func(b *testing.B) {
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				_, _ = s.Take(context.Background(), requests[i%keys])
			}
		})
		memory := ratelimit.NewMemory(ratelimit.MemoryConfig{})
		b.Run(fmt.Sprintf("memory/keys=%d", keys), func(b *testing.B) {
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				_, _ = memory.Take(context.Background(), requests[i%keys])
			}
		})
	}
}
