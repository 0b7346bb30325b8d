package redis

import (
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/oncegate/oncegate/internal/auth/revoke"
	"github.com/oncegate/oncegate/internal/redistest"
)

// whole reads all pages.
func whole(t *testing.T, s *Store, cursor string) (all []revoke.Entry, next string) {
	t.Helper()
	for {
		page, next, err := s.Since(t.Context(), cursor)
		if err != nil {
			t.Fatal(err)
		}
		if cursor = next; len(page) == 0 {
			return all, cursor
		}
		all = append(all, page...)
	}
}

func add(t *testing.T, s *Store, entries ...revoke.Entry) {
	t.Helper()
	for _, e := range entries {
		if err := s.Add(t.Context(), e); err != nil {
			t.Fatal(err)
		}
	}
}

// What was added comes back as it was, once, in its order, and only what is new after a cursor.
func TestAddAndSince(t *testing.T) {
	s := open(t, at(redistest.Start(t).Addr))
	until := time.UnixMicro(time.Now().Add(time.Hour).UnixMicro())
	want := []revoke.Entry{
		{Issuer: "https://id.test/", ID: "1", Until: until},
		{Issuer: "https://id.test/", Session: "1 2\x00\n{}é", Until: until.Add(time.Microsecond)},
		{Issuer: "a 5 b", Subject: "alice", Before: until.Add(-2 * time.Hour), Until: until},
		{Issuer: "https://id.test/", ID: strings.Repeat("x", 1024), Until: until},
	}
	if all, next := whole(t, s, ""); len(all) != 0 || next == "" {
		t.Errorf("an empty store gives %v", all)
	}
	add(t, s, want...)
	add(t, s, want...) // changes nothing
	all, next := whole(t, s, "")
	if !reflect.DeepEqual(all, want) {
		t.Errorf("%+v", all)
	}
	if news, again := whole(t, s, next); len(news) != 0 || again != next {
		t.Errorf("news: %v", news)
	}
	earlier, later := want[2], want[2]
	earlier.Before, earlier.Until = earlier.Before.Add(-time.Minute), until.Add(-time.Minute)
	later.Before, later.Until = later.Before.Add(time.Minute), until.Add(-time.Minute)
	add(t, s, earlier)
	add(t, s, later)
	later.Until = until
	if news, _ := whole(t, s, next); !reflect.DeepEqual(news, []revoke.Entry{later}) {
		t.Errorf("a subject's moment moves forward only: %+v", news)
	}
	longer := earlier
	longer.Until = until.Add(time.Minute)
	add(t, s, longer)
	later.Until = longer.Until
	if news, _ := whole(t, s, next); !reflect.DeepEqual(news, []revoke.Entry{later}) {
		t.Errorf("its end does as well, and by itself: %+v", news)
	}
	add(t, s, revoke.Entry{Issuer: "i", ID: "over", Until: time.Now()})
	if all, _ := whole(t, s, ""); len(all) != len(want) {
		t.Errorf("%d entries", len(all))
	}
}

// Many come page by page.
func TestPages(t *testing.T) {
	s := open(t, at(redistest.Start(t).Addr))
	const n = 2*pageSize + 7
	for i := range n {
		add(t, s, jti(fmt.Sprint(i)))
	}
	all, _ := whole(t, s, "")
	seen := map[string]bool{}
	for _, e := range all {
		seen[e.ID] = true
	}
	if len(all) != n || len(seen) != n {
		t.Errorf("%d entries, %d of them different", len(all), len(seen))
	}
}

// An entry is gone when it is over: it makes room, and the whole goes with the last one.
func TestEntriesEnd(t *testing.T) {
	srv := redistest.Start(t)
	cfg := at(srv.Addr)
	cfg.Max = 3
	s := open(t, cfg)
	add(t, s, jti("stays"))
	short := func(id string) revoke.Entry {
		return revoke.Entry{Issuer: "i", ID: id, Until: time.Now().Add(700 * time.Millisecond)}
	}
	add(t, s, short("1"), short("2"))
	if err := s.Add(t.Context(), short("3")); !errors.Is(err, revoke.ErrFull) {
		t.Errorf("no room: %v", err)
	}
	add(t, s, short("1")) // what is there already needs none
	await(t, "there is room again, and what is over has gone", func() bool {
		return s.Add(t.Context(), jti("4")) == nil && do(t, srv, "HLEN", s.entries) == int64(2) && do(t, srv, "ZCARD", s.order) == int64(2)
	})
	if ttl := do(t, srv, "PTTL", s.entries).(int64); ttl < 3_500_000 || ttl > 3_601_000 {
		t.Errorf("the whole ends in %d ms", ttl)
	}
	do(t, srv, "FLUSHALL")
	add(t, s, short("5"))
	await(t, "nothing is left", func() bool { return do(t, srv, "DBSIZE") == int64(0) })
}

// A cursor of another life, of another server, or of what is not there any more is told apart.
func TestLossIsTold(t *testing.T) {
	srv := redistest.Start(t, "--appendonly", "yes")
	s := open(t, at(srv.Addr))
	add(t, s, jti("1"), jti("2"))
	_, next := whole(t, s, "")
	gone := func(what, cursor string) {
		t.Helper()
		if _, _, err := s.Since(t.Context(), cursor); !errors.Is(err, revoke.ErrGone) {
			t.Errorf("%s: %v", what, err)
		}
	}
	gone("nonsense", "x")
	gone("nonsense", "a/b/c")
	gone("the future", next[:strings.LastIndex(next, "/")]+"/99")
	srv.Restart() // it kept all, but who knows
	await(t, "it answers", func() bool { _, _, err := s.Since(t.Context(), ""); return err == nil })
	gone("a restart", next)
	all, next := whole(t, s, "")
	if len(all) != 2 {
		t.Errorf("%d entries after the restart", len(all))
	}
	do(t, srv, "FLUSHALL")
	gone("all is lost", next)
	add(t, s, jti("3"), jti("4"), jti("5"))
	gone("another life", next)
	_, next = whole(t, s, "")
	do(t, srv, "DEL", s.entries) // evicted: no more than a hole
	if all, _ := whole(t, s, ""); len(all) != 0 {
		t.Errorf("%v", all)
	}
	add(t, s, jti("3"))
	if news, _ := whole(t, s, next); len(news) != 1 || news[0].ID != "3" {
		t.Errorf("%v", news)
	}
	for i := range pageSize {
		add(t, s, jti(fmt.Sprint("hole-", i)))
	}
	do(t, srv, "DEL", s.entries)
	add(t, s, jti("6"))
	if all, _ := whole(t, s, ""); len(all) != 1 || all[0].ID != "6" {
		t.Errorf("a page of holes ends the whole: %v", all)
	}
}

func FuzzParse(f *testing.F) {
	for _, e := range []revoke.Entry{jti("1"), {Issuer: "a 1 ", Session: " "}, {Issuer: "i", Subject: "bob", Before: time.Unix(1, 0)}} {
		f.Add(fmt.Sprintf("%d %d %s", micros(e.Before), micros(e.Until), what(&e)))
	}
	f.Fuzz(func(t *testing.T, text string) {
		e, err := parse(text)
		if err != nil {
			return
		}
		again, err := parse(fmt.Sprintf("%d %d %s", micros(e.Before), micros(e.Until), what(&e)))
		if err != nil || !reflect.DeepEqual(again, e) {
			t.Errorf("%q: %+v, then %+v %v", text, e, again, err)
		}
	})
}

func TestParseRefuses(t *testing.T) {
	for _, text := range []string{"", "1", "1 2", "1 2 j", "1 2 j 1", "1 2 j 1 i", "1 2 j 0 ab", "1 2 x 1 ab", "-1 2 j 1 ab", "a 2 j 1 ab", "1 b j 1 ab", "1 2 j 9 ab", "1 2 j -1 ab", "1 2  1 ab", "9999999999999999999 2 j 1 ab"} {
		if e, err := parse(text); err == nil {
			t.Errorf("%q: %+v", text, e)
		}
	}
}
