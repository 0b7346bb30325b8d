package redis

import (
	"errors"
	"testing"
	"time"

	goredis "github.com/redis/go-redis/v9"
)

// The breaker opens at 3 failures in a row, or at half of 20 within a second, and closes after 3 good probes in a row.
func TestBreaker(t *testing.T) {
	begin := time.Now()
	feed := func(b *breaker, every time.Duration, results string) (opened int) {
		for i, r := range results {
			if b.record(r == '+', begin.Add(time.Duration(i)*every), begin.Add(time.Duration(i)*every)) {
				return i + 1
			}
		}
		return 0
	}
	for _, c := range []struct {
		results string
		every   time.Duration
		opens   int
	}{
		{"--+--+--+", time.Millisecond, 0},
		{"+--+---", time.Millisecond, 7},
		{"-+-+-+-+-+-+-+-+-+-+-+", time.Millisecond, 20},
		{"-+-+-+-+-+-+-+-+-+-+-+", 60 * time.Millisecond, 0},
		{"-++-++-++-++-++-++-++-++-++-++", time.Millisecond, 0},
	} {
		if got := feed(&breaker{}, c.every, c.results); got != c.opens {
			t.Errorf("%s every %v: opens at %d, not %d", c.results, c.every, got, c.opens)
		}
	}
	b := &breaker{}
	feed(b, 1, "---")
	if b.record(false, begin, begin) || b.record(true, begin, begin) || !b.isOpen() {
		t.Error("late answers change an open breaker")
	}
	for i, ok := range []bool{true, true, false, true, true, true} {
		if closed := b.probed(ok); closed != (i == 5) {
			t.Errorf("probe %d: closed %v", i, closed)
		}
	}
	if b.isOpen() || feed(b, 1, "--+") != 0 || b.probed(true) {
		t.Error("it did not begin anew")
	}
	b = &breaker{}
	at := func(ms time.Duration) time.Time { return begin.Add(ms * time.Millisecond) }
	for i := range time.Duration(4) { // four pipelines in one hiccup
		if b.record(false, at(i), at(20)) {
			t.Error("one hiccup is an outage")
		}
	}
	if b.record(false, at(20), at(40)) || !b.record(false, at(40), at(60)) {
		t.Error("three of them in a row are not, or two are")
	}
}

type reply string

func (r reply) Error() string { return string(r) }
func (reply) RedisError()     {}

var _ goredis.Error = reply("")

// One call's own error says nothing of the server.
func TestFault(t *testing.T) {
	for err, want := range map[error]bool{
		errors.New("connection reset"): true, reply("READONLY You can't write against a read only replica."): true,
		reply("LOADING Redis is loading"): true, reply("OOM command not allowed"): true, reply("CLUSTERDOWN Hash slot not served"): true,
		reply("WRONGTYPE Operation against a key"): false, reply("ERR user_script:3: attempt"): false, reply("MOVED 1 a:1"): false, goredis.Nil: false,
	} {
		if fault(err) != want {
			t.Errorf("%v: %v", err, !want)
		}
	}
	if addr, ask, ok := redirection(reply("ASK 3999 127.0.0.1:6381")); addr != "127.0.0.1:6381" || !ask || !ok {
		t.Error("ASK", addr, ask, ok)
	}
	if addr, ask, ok := redirection(reply("MOVED 3999 127.0.0.1:6381")); addr != "127.0.0.1:6381" || ask || !ok {
		t.Error("MOVED", addr, ask, ok)
	}
	if _, _, ok := redirection(reply("MOVEDX 3999 127.0.0.1:6381")); ok {
		t.Error("not a redirection")
	}
}
