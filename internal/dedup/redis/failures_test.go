package redis

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"testing"

	goredis "github.com/redis/go-redis/v9"

	"github.com/oncegate/oncegate/internal/dedup"
	"github.com/oncegate/oncegate/internal/dedup/record"
	"github.com/oncegate/oncegate/internal/redistest"
)

// said is an error reply.
type said string

func (s said) Error() string { return string(s) }
func (said) RedisError()     {}

func TestWhatIsCertain(t *testing.T) {
	for _, c := range []struct {
		err     error
		refused bool
	}{
		{said("READONLY You can't write against a read only replica."), true},
		{said("LOADING Redis is loading the dataset in memory"), true},
		{said("OOM command not allowed when used memory > 'maxmemory'."), true},
		{said("NOSCRIPT No matching script."), true},
		{said("CLUSTERDOWN The cluster is down"), true},
		{said("TRYAGAIN Multiple keys request during rehashing of slot"), true},
		{said("MASTERDOWN Link with MASTER is down"), true},
		{said("MOVED 1 127.0.0.1:1"), true},
		{said("NOREPLICAS Not enough good replicas to write."), true},
		{said("CORRUPT record"), true},
		{goredis.ErrClosed, true},
		{goredis.ErrPoolTimeout, true},
		{errPaused, true},
		{fmt.Errorf("%w: %w", errUnsent, &net.OpError{Op: "dial", Err: io.EOF}), true},
		{said("ERR user_script:1: oops"), false},
		{said("UNBLOCKED force unblock"), false},
		{said("OOMPH"), false},
		{io.EOF, false},
		{context.DeadlineExceeded, false},
		{errors.New("READONLY as a client's own word"), false},
		{&net.OpError{Op: "read", Err: io.EOF}, false},
	} {
		if err := failed("begin", c.err); errors.Is(err, dedup.ErrRefused) != c.refused || !errors.Is(err, c.err) && !says(c.err, "CORRUPT") {
			t.Errorf("%v: %v", c.err, err)
		}
	}
}

func TestRedirections(t *testing.T) {
	for reply, want := range map[string]string{
		"MOVED 3999 127.0.0.1:6381": "127.0.0.1:6381 false true",
		"ASK 3999 :6381":            ":6381 true true",
		"MOVED 3999":                " false false",
		"ERR MOVED 1 a:1":           " false false",
	} {
		addr, ask, ok := redirection(said(reply))
		if got := fmt.Sprint(addr, " ", ask, " ", ok); got != want {
			t.Errorf("%q: %q, want %q", reply, got, want)
		}
	}
	f := newFleet(Config{}, &names{})
	defer f.close()
	if n := f.known(":1", "127.0.0.1:9"); n == nil || n.addr != "127.0.0.1:1" {
		t.Errorf("an address without a host: %+v", n)
	}
	if f.known("nonsense", "127.0.0.1:9") != nil || f.known(":1", "nonsense") != nil {
		t.Error("no address, and a node all the same")
	}
}

func TestStrangeRepliesAreRefused(t *testing.T) {
	for _, value := range []any{
		nil, "x", int64(0), int64(9), []any{}, []any{int64(1)},
		[]any{int64(99), int64(0), int64(0), "", int64(0), "", "", "", int64(0)},
		[]any{int64(5), int64(0), int64(0), "short", int64(0), "", "", "", int64(0)},
		[]any{int64(5), int64(0), int64(0), "", int64(0), nil, "", "", int64(0)},
	} {
		if f, _, err := decodeFound(value); err == nil {
			t.Errorf("%v is read as %+v", value, f)
		}
		if o, err := decodeOutcome(value); err == nil {
			t.Errorf("%v is read as %s", value, o)
		}
		if r, err := decodeRecord(value); err == nil && r.State != record.Absent {
			t.Errorf("%v is read as %+v", value, r)
		}
	}
}

// TestCorruptRecord: what can't be read is never executed.
func TestCorruptRecord(t *testing.T) {
	server := redistest.Start(t)
	s := open(t, single(server), Deps{})
	name := s.names.of(numbered(1))[0]
	for _, value := range []string{"", "x", string(make([]byte, 200)), "\x01\x09" + string(make([]byte, 115))} {
		if _, err := server.Do("SET", name, value); err != nil {
			t.Fatal(err)
		}
		if found, err := begin(s, numbered(1), claim(mine)); !errors.Is(err, record.ErrCorrupt) || !errors.Is(err, dedup.ErrRefused) {
			t.Errorf("%q: %+v, %v", value, found, err)
		}
		if _, err := finish(s, numbered(1), mine, result(record.Completed)); !errors.Is(err, record.ErrCorrupt) {
			t.Errorf("%q: finish: %v", value, err)
		}
	}
	_, _ = server.Do("DEL", name)
	_, _ = server.Do("RPUSH", name, "a list")
	if found, err := begin(s, numbered(1), claim(mine)); err == nil {
		t.Errorf("a list: %+v", found)
	}
}
