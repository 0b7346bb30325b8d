package redis

import (
	"testing"

	"github.com/oncegate/oncegate/internal/dedup/record"
	"github.com/oncegate/oncegate/internal/redistest"
)

// A server that forgot the scripts, as a new primary has never seen them, costs one more round trip and nothing else.
func TestEdge18ScriptsAreFlushed(t *testing.T) {
	server := redistest.Start(t)
	s := open(t, single(server), Deps{})
	flush := func() {
		t.Helper()
		if _, err := server.Do("SCRIPT", "FLUSH"); err != nil {
			t.Fatal(err)
		}
	}
	flush()
	if found, err := begin(s, numbered(1), claim(token(1))); err != nil || found.Verdict != record.Acquired {
		t.Fatalf("begin: %s, %v", found.Verdict, err)
	}
	flush()
	if outcome, err := finish(s, numbered(1), token(1), result(record.Completed)); err != nil || outcome != record.Stored {
		t.Fatalf("finish: %s, %v", outcome, err)
	}
	flush()
	if found, err := begin(s, numbered(1), claim(token(2))); err != nil || found.Verdict != record.Replay {
		t.Fatalf("replay: %s, %v", found.Verdict, err)
	}
}

// Keyed calls never go to a replica, whose copy may be old.
func TestEdge22ReplicasAreNotRead(t *testing.T) {
	fleet := redistest.StartSentinel(t, 1)
	s := open(t, sentinel(fleet, 0), Deps{})
	for i := range 20 {
		if _, err := begin(s, numbered(i), claim(token(i))); err != nil {
			t.Fatal(err)
		}
		if _, err := s.Look(t.Context(), numbered(i)); err != nil {
			t.Fatal(err)
		}
		if _, err := finish(s, numbered(i), token(i), result(record.Completed)); err != nil {
			t.Fatal(err)
		}
		if found, err := begin(s, numbered(i), claim(token(99))); err != nil || found.Verdict != record.Replay {
			t.Fatalf("%s, %v", found.Verdict, err)
		}
	}
	primary := fleet.Primary()
	for _, server := range fleet.Servers {
		scripts := server.Info("commandstats", "cmdstat_evalsha") + server.Info("commandstats", "cmdstat_eval")
		if asked := scripts != ""; asked != (server == primary) {
			t.Errorf("server %s, primary %v, ran scripts: %q", server.Addr, server == primary, scripts)
		}
	}
}
