package h1

import (
	"bytes"
	"math/rand/v2"
	"testing"
)

func FuzzTerminator(f *testing.F) {
	f.Add([]byte("GET / HTTP/1.1\r\nA: b\r\n\r\nrest"), uint64(1))
	f.Add([]byte("\r\r\n\r\r\n\r\n\n\r\n"), uint64(2))
	f.Add([]byte("\r\n\r\n\r\n\r\n"), uint64(3))
	f.Fuzz(func(t *testing.T, p []byte, seed uint64) {
		want := bytes.Index(p, headEnd)
		if want >= 0 {
			want += len(headEnd)
		}
		var end terminator
		rnd := rand.New(rand.NewPCG(seed, 1))
		for got, at := -1, 0; ; {
			if at == len(p) {
				if want != -1 {
					t.Fatalf("missed the end at %d of %q", want, p)
				}
				return
			}
			n := 1 + rnd.IntN(min(8, len(p)-at))
			if got = end.find(p[at : at+n]); got >= 0 {
				if at+got != want {
					t.Fatalf("found %d, want %d, in %q", at+got, want, p)
				}
				if end != 0 {
					t.Fatal("state is left over")
				}
				return
			}
			at += n
		}
	})
}

func TestSpareKeepsOrder(t *testing.T) {
	var s *spare
	if s.take(make([]byte, 4)) != 0 || s.release() != nil || s.putBack(nil) != nil {
		t.Fatal("none must behave as empty")
	}
	s = s.putBack([]byte("world"))
	s = s.putBack([]byte("hello "))
	p := make([]byte, 7)
	s.take(p)
	if s = s.putBack(p[5:]); string(s.bytes()) != " world" {
		t.Fatalf("%q", s.bytes())
	}
	if s.release() != s {
		t.Fatal("held bytes must be kept")
	}
	s.take(make([]byte, 99))
	if s.release() != nil {
		t.Fatal("an empty one goes back")
	}
}
