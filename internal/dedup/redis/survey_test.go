package redis

import (
	"context"
	"maps"
	"slices"
	"testing"

	"github.com/oncegate/oncegate/internal/dedup/record"
	"github.com/oncegate/oncegate/internal/redisconn"
	"github.com/oncegate/oncegate/internal/redistest"
)

// open records as a survey sees them.
func survey(t *testing.T, s *Store) map[record.Key]record.State {
	t.Helper()
	found := map[record.Key]record.State{}
	err := s.Open(context.Background(), func(key record.Key, r record.Record) bool {
		if _, twice := found[key]; twice {
			t.Errorf("%x was told twice", key)
		}
		found[key] = r.State
		return true
	})
	if err != nil {
		t.Error(err)
	}
	return found
}

// fill makes n claims, of which every third ends as unknown and every third is answered. It gives what is open.
func fill(t *testing.T, s *Store, n int) map[record.Key]record.State {
	t.Helper()
	want := map[record.Key]record.State{}
	for i := range n {
		if _, err := begin(s, numbered(i), claim(token(i))); err != nil {
			t.Fatal(err)
		}
		switch want[numbered(i)] = record.InFlight; i % 3 {
		case 1:
			want[numbered(i)] = record.Unknown
			_, _ = finish(s, numbered(i), token(i), result(record.Unknown))
		case 2:
			delete(want, numbered(i))
			_, _ = finish(s, numbered(i), token(i), result(record.Completed))
		}
	}
	return want
}

func TestSurveyTakesFewRoundTrips(t *testing.T) {
	server := redistest.Start(t)
	proxy := redistest.NewProxy(t, server.Addr)
	s := still(t, Config{Server: redisconn.Server{Mode: redisconn.Single, Addresses: []string{proxy.Addr}}, Prefix: fresh()})
	sent := &hops{}
	s.fleet.place(0).client.AddHook(sent)
	if found := survey(t, s); len(found) != 0 || sent.n != 32 {
		t.Errorf("%d round trips for %d records", sent.n, len(found))
	}
	want := fill(t, s, 300)
	bursts := proxy.Bursts()
	sent.n = 0
	if found := survey(t, s); !maps.Equal(found, want) {
		t.Errorf("%d are open, want %d", len(found), len(want))
	}
	if most := 64; sent.n > most || proxy.Bursts()-bursts > most {
		t.Errorf("%d round trips, %d on the wire", sent.n, proxy.Bursts()-bursts)
	}
	if _, err := server.Do("SCRIPT", "FLUSH"); err != nil {
		t.Fatal(err)
	}
	if found := survey(t, s); !maps.Equal(found, want) {
		t.Errorf("without its scripts: %d are open", len(found))
	}
	calls := 0
	if err := s.Open(context.Background(), func(record.Key, record.Record) bool { calls++; return calls < 3 }); err != nil || calls != 3 {
		t.Errorf("%d calls after the word to stop, %v", calls, err)
	}
	proxy.Cut()
	sent.n = 0
	if err := s.Open(context.Background(), func(record.Key, record.Record) bool { return true }); err == nil || sent.n != 1 {
		t.Errorf("a server that is gone was asked %d times: %v", sent.n, err)
	}
}

// TestSurveyOfALongList: one bucket's list is longer than a page.
func TestSurveyOfALongList(t *testing.T) {
	server := redistest.Start(t)
	s := still(t, single(server))
	args, want := []any{"ZADD", s.names.open(0)}, map[record.Key]bool{}
	for i := range openPage + 7 {
		key := numbered(i)
		key[0], key[1] = 0, key[1]&0x3f // bucket 0
		want[key] = true
		args = append(args, i, string(key[:]))
	}
	if _, err := server.Do(args...); err != nil {
		t.Fatal(err)
	}
	keys, err := s.openKeys(context.Background(), 1, 0, 2)
	if err != nil || len(keys) != len(want) {
		t.Fatalf("%d keys, %v", len(keys), err)
	}
	for _, key := range keys {
		delete(want, key)
	}
	if len(want) != 0 {
		t.Errorf("%d are missing", len(want))
	}
	if found := survey(t, s); len(found) != 0 { // nothing is behind them
		t.Errorf("%d are open", len(found))
	}
	if n, err := server.Do("ZCARD", s.names.open(0)); err != nil || n != int64(0) {
		t.Errorf("what is gone is still listed: %v, %v", n, err)
	}
}

// TestSurveyOfACluster: servers are asked one after the other, and a moved slot is followed.
func TestSurveyOfACluster(t *testing.T) {
	fleet := redistest.StartCluster(t, 3, 0)
	s := still(t, cluster(fleet, 0))
	want := fill(t, s, 200)
	if found := survey(t, s); !maps.Equal(found, want) {
		t.Errorf("%d are open, want %d", len(found), len(want))
	}
	order, changes := s.fleet.byServer(), 0
	for i := 1; i < len(order); i++ {
		if s.fleet.place(order[i]) != s.fleet.place(order[i-1]) {
			changes++
		}
	}
	slices.Sort(order)
	if changes != 2 || len(slices.Compact(order)) != buckets {
		t.Errorf("%d changes of server, %d buckets", changes, len(order))
	}
	wrong := s.fleet.place(0)
	for b := range buckets { // a view of long ago
		if s.fleet.place(b) != wrong {
			s.fleet.move(b, wrong)
			break
		}
	}
	if found := survey(t, s); !maps.Equal(found, want) {
		t.Errorf("with an old view: %d are open, want %d", len(found), len(want))
	}
}
