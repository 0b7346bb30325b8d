package dpop

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

func numbered(i int, owner string) Proof {
	p := Proof{Owner: owner, Now: now, Ends: now.Add(time.Minute)}
	binary.LittleEndian.PutUint64(p.ID[:], uint64(i))
	return p
}

// Full of proofs that are not over, a memory takes no more of anybody, and drops none: what was used stays used.
func TestMemoryFailsClosed(t *testing.T) {
	m := NewMemory(shards * 16)
	taken, refused := 0, 0
	for i := range shards * 32 {
		switch fresh, err := m.First(context.Background(), numbered(i, fmt.Sprint(i%64))); {
		case errors.Is(err, ErrFull) && !fresh:
			refused++
		case err == nil && fresh:
			taken++
		default:
			t.Fatal(fresh, err)
		}
	}
	if taken != shards*16 || refused != shards*16 || m.Len() != taken {
		t.Errorf("%d taken, %d refused, %d kept", taken, refused, m.Len())
	}
	for i := range shards * 16 {
		if fresh, err := m.First(context.Background(), numbered(i, "x")); fresh || err != nil {
			t.Fatalf("%d was forgotten: %v", i, err)
		}
	}
	late := numbered(1<<40, "x")
	late.Now = now.Add(2 * time.Minute)
	late.Ends = late.Now.Add(time.Minute)
	if fresh, err := m.First(context.Background(), late); !fresh || err != nil {
		t.Errorf("after a sweep: %v", err)
	}
}

// One owner has an eighth; what is over is given back.
func TestOneOwnersPart(t *testing.T) {
	m := NewMemory(shards * 16)
	n := 0
	for i := range shards * 16 {
		if fresh, err := m.First(context.Background(), numbered(i, "mallory")); err == nil && fresh {
			n++
		}
	}
	if n != shards*16/part {
		t.Errorf("%d", n)
	}
	if fresh, err := m.First(context.Background(), numbered(1<<30, "alice")); !fresh || err != nil {
		t.Errorf("alice: %v", err)
	}
	for i := range shards {
		p := numbered(1<<31+i, "alice")
		p.Now, p.Ends = now.Add(2*time.Minute), now.Add(3*time.Minute)
		_, _ = m.First(context.Background(), p)
	}
	for i := range m.owners {
		if held := m.owners[i].Load(); held < 0 || held > shards {
			t.Errorf("owner %d holds %d", i, held)
		}
	}
}

// Of many that bring one proof at once, one is first.
func TestOneIsFirst(t *testing.T) {
	m := NewMemory(0)
	for i := range 50 {
		var all sync.WaitGroup
		var first atomic.Int32
		for range 16 {
			all.Go(func() {
				if fresh, err := m.First(context.Background(), numbered(i, "x")); fresh && err == nil {
					first.Add(1)
				}
			})
		}
		all.Wait()
		if first.Load() != 1 {
			t.Fatalf("%d were first", first.Load())
		}
	}
}

// Nonces: the current one, the one before and the next are taken, by whoever has the key; nothing is remembered.
func TestNonces(t *testing.T) {
	secret := []byte("a secret of the fleet, which is long enough")
	d := newDesk(t, Config{Nonce: true}, "ES256")
	d.shared.Nonces = NewNonces(secret)
	v, nonce := d.asks(proof(), now)
	if v != NonceWanted || nonce == "" {
		t.Fatal(v, nonce)
	}
	for name, c := range map[string]struct {
		at    time.Duration
		want  Verdict
		fresh bool // another nonce is told
	}{"at once": {0, Proven, false}, "in the next window": {time.Minute, Proven, true}, "in the window after": {2 * time.Minute, NonceWanted, true}, "a clock behind": {-time.Minute, Proven, true}, "two windows behind": {-2 * time.Minute, NonceWanted, true}} {
		at := now.Add(c.at)
		v, next := d.asks(proof("nonce", nonce, "iat", at.Unix()), at)
		if v != c.want || (next != "") != c.fresh || next == nonce {
			t.Errorf("%s: %v %q", name, v, next)
		}
	}
	other := newDesk(t, Config{Nonce: true}, "ES256")
	other.shared.Nonces = NewNonces([]byte("a newer secret of the fleet, long enough"), secret)
	other.wants(t, "another gateway, with the key as an earlier one", proof("nonce", nonce), Proven)
	other.shared.Nonces = NewNonces()
	other.wants(t, "a stranger", proof("nonce", nonce), NonceWanted)
	for name, bad := range map[string]string{"empty": "", "cut": nonce[:len(nonce)-1], "longer": nonce + "A", "invented": "AAAAAAAAAAAAAAAAAAAAAA"} {
		d.wants(t, name, proof("nonce", bad), NonceWanted)
	}
	used := proof("nonce", nonce)
	d.wants(t, "first", used, Proven)
	d.wants(t, "again", used, Replayed)
	if v, next := d.asks(proof("htm", "GET"), now); v != OtherRequest || next != "" {
		t.Errorf("a bad proof gets a nonce: %v %q", v, next)
	}
	longer := newDesk(t, Config{Nonce: true, Window: 3 * 60e9}, "ES256")
	longer.shared = d.shared
	longer.wants(t, "of an issuer with another window", proof("nonce", nonce), NonceWanted)
}
