package redisconn

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"github.com/oncegate/oncegate/internal/redistest"
)

var short = Bounds{Dial: 100 * time.Millisecond, Read: 200 * time.Millisecond, Write: 300 * time.Millisecond, Pool: 400 * time.Millisecond, Connections: 7}

func TestServersAreValidated(t *testing.T) {
	for want, s := range map[string]Server{
		"mode \"ring\"": {Mode: "ring", Addresses: []string{"a:1"}},
		"no address":    {Mode: Single},
		"takes one":     {Mode: Single, Addresses: []string{"a:1", "b:1"}},
		"needs master":  {Mode: Sentinel, Addresses: []string{"a:1"}},
		"database 0":    {Mode: Cluster, Addresses: []string{"a:1"}, Database: 1},
	} {
		if err := s.Validate(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", want, err)
		}
	}
	for _, s := range []Server{{Mode: Single, Addresses: []string{"a:1"}, Database: 3}, {Mode: Sentinel, Addresses: []string{"a:1", "b:1"}, Master: "m"}, {Mode: Cluster, Addresses: []string{"a:1", "b:1"}}} {
		if err := s.Validate(); err != nil {
			t.Errorf("%s: %v", s.Mode, err)
		}
	}
}

// mute takes connections, reads what comes, counts the lines that are this word, and ends each connection after it.
func mute(t *testing.T, word string) (addr string, count *atomic.Int64) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = ln.Close() })
	count = &atomic.Int64{}
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				lines := bufio.NewScanner(c)
				for lines.Scan() {
					switch strings.ToLower(lines.Text()) {
					case "client":
						_, _ = c.Write([]byte("+OK\r\n")) // its name
					case "hello":
						_, _ = c.Write([]byte("-ERR unknown command\r\n"))
					case word:
						count.Add(1)
						return
					}
				}
			}()
		}
	}()
	return ln.Addr().String(), count
}

// A command of which nobody knows whether it was executed is the caller's matter.
func TestNothingIsRepeated(t *testing.T) {
	addr, count := mute(t, "incr")
	client, err := Server{Mode: Single, Addresses: []string{addr}}.Connect(t.Context(), short)
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	if err := client.Incr(t.Context(), "n").Err(); err == nil || count.Load() != 1 {
		t.Errorf("%v, sent %d times", err, count.Load())
	}
}

// What each kind of client was made with, as go-redis understood it: 0 is no retry.
func TestEveryKindHasTheBounds(t *testing.T) {
	fleet := redistest.StartSentinel(t, 0)
	for mode, s := range map[string]Server{
		Single:   {Mode: Single, Addresses: []string{"127.0.0.1:1"}, Username: "u", Password: "p", Database: 3},
		Sentinel: {Mode: Sentinel, Addresses: fleet.Addrs, Master: fleet.Name},
		Cluster:  {Mode: Cluster, Addresses: []string{"127.0.0.1:1"}},
	} {
		client, err := s.Connect(t.Context(), short)
		if err != nil {
			t.Fatalf("%s: %v", mode, err)
		}
		defer client.Close()
		var got Bounds
		var retries int
		switch c := client.(type) {
		case *goredis.Client:
			o := c.Options()
			got, retries = Bounds{o.DialTimeout, o.ReadTimeout, o.WriteTimeout, o.PoolTimeout, o.PoolSize}, o.MaxRetries
			if o.Username != s.Username || o.Password != s.Password || o.DB != s.Database || !o.ContextTimeoutEnabled || o.DialerRetries != 1 {
				t.Errorf("%s: %+v", mode, o)
			}
		case *goredis.ClusterClient:
			o := c.Options()
			got, retries = Bounds{o.DialTimeout, o.ReadTimeout, o.WriteTimeout, o.PoolTimeout, o.PoolSize}, o.MaxRetries+o.MaxRedirects
			if !o.ContextTimeoutEnabled || o.DialerRetries != 1 {
				t.Errorf("%s: %+v", mode, o)
			}
		}
		if got != short || retries > 0 {
			t.Errorf("%s: %+v, %d retries", mode, got, retries)
		}
	}
}

// A server that takes the connection and never shakes hands costs the time to dial.
func TestHandshakesHaveABound(t *testing.T) {
	addr, _ := mute(t, "never")
	began := time.Now()
	conn, err := dialer(&tls.Config{}, short.Dial)(context.Background(), "tcp", addr)
	if err == nil || time.Since(began) > 3*time.Second {
		t.Errorf("%v %v after %v", conn, err, time.Since(began))
	}
}

// Sentinels that don't know the name are a mistake; those that are not there may come.
func TestSentinelsAreAskedFirst(t *testing.T) {
	fleet := redistest.StartSentinel(t, 0)
	here := Server{Mode: Sentinel, Addresses: fleet.Addrs, Master: "another"}
	if _, err := here.Connect(t.Context(), short); !errors.Is(err, ErrFatal) || !strings.Contains(err.Error(), `knows the primary "another"`) {
		t.Errorf("another name: %v", err)
	}
	gone := Server{Mode: Sentinel, Addresses: []string{"127.0.0.1:1", "127.0.0.1:1"}, Master: fleet.Name}
	if client, err := gone.Connect(t.Context(), short); client != nil || err == nil || errors.Is(err, ErrFatal) {
		t.Errorf("no sentinel: %v %v", client, err)
	}
	here.Master = fleet.Name
	client, err := here.Connect(t.Context(), Bounds{Dial: time.Second, Read: time.Second, Write: time.Second, Pool: time.Second, Connections: 2})
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	if err := client.Set(t.Context(), "k", "v", 0).Err(); err != nil {
		t.Error(err)
	}
}

func TestSays(t *testing.T) {
	for text, c := range map[string]struct {
		word string
		want bool
	}{
		"NOAUTH Authentication required.": {"NOAUTH", true}, "NOAUTHX y": {"NOAUTH", false}, "ERR": {"ERR", true}, "CORRUPT: x": {"CORRUPT", true}, "x ERR": {"ERR", false},
	} {
		if got := Says(said(text), c.word); got != c.want {
			t.Errorf("%s: %v", text, got)
		}
	}
	if Says(errors.New("NOAUTH by somebody else"), "NOAUTH") || Says(nil, "ERR") {
		t.Error("it was not Redis that said so")
	}
}

// said is an error reply.
type said string

func (s said) Error() string { return string(s) }
func (said) RedisError()     {}
