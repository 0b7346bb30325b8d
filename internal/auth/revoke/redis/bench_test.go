package redis

import (
	"fmt"
	"testing"
	"time"

	"github.com/oncegate/oncegate/internal/auth/revoke"
	"github.com/oncegate/oncegate/internal/redistest"
)

// BenchmarkNews is a look for news where there are none: what each gateway does each second.
func BenchmarkNews(b *testing.B) {
	s, err := Open(b.Context(), at(redistest.Start(b).Addr), Deps{})
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close()
	_, cursor, err := s.Since(b.Context(), "")
	for b.Loop() && err == nil {
		_, cursor, err = s.Since(b.Context(), cursor)
	}
	if err != nil {
		b.Fatal(err)
	}
}

// BenchmarkWhole is a start with 10,000 revocations, and telling them to an empty Redis before.
func BenchmarkWhole(b *testing.B) {
	s, err := Open(b.Context(), at(redistest.Start(b).Addr), Deps{})
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close()
	const n = 10_000
	began := time.Now()
	for i := range n {
		if err := s.Add(b.Context(), jti(fmt.Sprint(i))); err != nil {
			b.Fatal(err)
		}
	}
	told := time.Since(began)
	for b.Loop() {
		l := revoke.New(revoke.Config{Grace: time.Minute})
		f := revoke.Follow(l, s, revoke.FollowConfig{Patience: 10 * time.Second})
		f.Await(b.Context())
		f.Close()
		if l.Len() != n {
			b.Fatal(l.Len())
		}
	}
	b.ReportMetric(float64(told.Microseconds())/n, "µs/add")
}
