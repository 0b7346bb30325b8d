package redistest

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"
)

// freshClient drops the connections to a process that is gone. The caller holds s.mu.
func (s *Server) freshClient() {
	if s.client != nil {
		s.client.Close()
	}
	s.client = redis.NewClient(&redis.Options{
		Addr: s.Addr, Protocol: 2, MaxRetries: -1, DialerRetries: 1, PoolSize: 16,
		DialTimeout: answerBound, ReadTimeout: answerBound, WriteTimeout: answerBound,
		ContextTimeoutEnabled: true, DisableIdentity: true,
		MaintNotificationsConfig: &maintnotifications.Config{Mode: maintnotifications.ModeDisabled},
	})
}

// Do sends one command, once, and waits at most 3 s. A nil reply is (nil, nil); an error reply is an error with Redis' own text;
// a status is a string, an integer int64, an array []any.
func (s *Server) Do(args ...any) (any, error) {
	s.mu.Lock()
	client := s.client
	s.mu.Unlock()
	ctx, cancel := context.WithTimeout(context.Background(), answerBound)
	defer cancel()
	reply, err := client.Do(ctx, args...).Result()
	if errors.Is(err, redis.Nil) {
		return nil, nil
	}
	return reply, err
}

// must is Do for steps of the set-up.
func (s *Server) must(args ...any) any {
	s.t.Helper()
	reply, err := s.Do(args...)
	if err != nil {
		s.t.Fatalf("%s: %v: %v", s.Addr, args, err)
	}
	return reply
}

// Info gives one field of INFO section, "" when there is none or the server doesn't answer.
func (s *Server) Info(section, field string) string { return s.info("INFO", section)[field] }

// info reads the field:value lines that INFO and CLUSTER INFO answer with; nil when there is no answer.
func (s *Server) info(args ...any) map[string]string {
	reply, err := s.Do(args...)
	text, ok := reply.(string)
	if err != nil || !ok {
		return nil
	}
	fields := map[string]string{}
	for line := range strings.Lines(text) {
		if name, value, ok := strings.Cut(strings.TrimSpace(line), ":"); ok {
			fields[name] = value
		}
	}
	return fields
}

// behind tells why replica isn't a replica of primary with all its data; "" when it is.
func behind(replica, primary *Server) string {
	want := primary.info("INFO", "replication") // asked first: the replica may be ahead of this, never behind
	got := replica.info("INFO", "replication")
	if want["role"] != "master" {
		return fmt.Sprintf("%s is %q, not a primary", primary.Addr, want["role"])
	}
	if got["role"] != "slave" || "127.0.0.1:"+got["master_port"] != primary.Addr {
		return fmt.Sprintf("%s is %q of port %s, not a replica of %s", replica.Addr, got["role"], got["master_port"], primary.Addr)
	}
	if got["master_link_status"] != "up" || number(got["slave_repl_offset"]) < number(want["master_repl_offset"]) {
		return fmt.Sprintf("%s: link %s, offset %s of %s", replica.Addr, got["master_link_status"],
			got["slave_repl_offset"], want["master_repl_offset"])
	}
	for name, value := range want {
		if strings.HasPrefix(name, "slave") && strings.Contains(value, fmt.Sprintf("port=%d,state=online", replica.Port)) {
			return ""
		}
	}
	return fmt.Sprintf("%s is not online at %s", replica.Addr, primary.Addr)
}

func number(digits string) (n int64) {
	if _, err := fmt.Sscan(digits, &n); err != nil {
		return -1
	}
	return n
}

// await polls until missing tells nothing more, or fails the test with what it told last.
func await(t testing.TB, bound time.Duration, what string, missing func() string) {
	t.Helper()
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	for end := time.Now().Add(bound); ; <-tick.C {
		why := missing()
		if why == "" {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("redistest: waited %v until %s: %s", bound, what, why)
		}
	}
}

// majority gives the server that most voters name, if at least quorum of them do.
func majority(servers, voters []*Server, quorum int, vote func(voter *Server) (addr string)) *Server {
	votes := map[string]int{}
	for _, v := range voters {
		if v.Running() {
			votes[vote(v)]++
		}
	}
	var best *Server
	for _, s := range servers {
		if n := votes[s.Addr]; n >= quorum && (best == nil || n > votes[best.Addr]) {
			best = s
		}
	}
	return best
}
