package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	goredis "github.com/redis/go-redis/v9"
)

// redisServer starts a server of its own that appends to its log and syncs it once a second; nil: it is not installed.
func (b *bench) redisServer() (*process, error) {
	path, err := exec.LookPath("redis-server")
	if err != nil {
		return nil, nil //nolint:nilnil // not installed: left out
	}
	dir := filepath.Join(b.dir, "redis")
	if err := os.Mkdir(dir, 0o700); err != nil {
		return nil, err
	}
	address := freeAddress()
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	return spawn(address, os.DevNull, path, "--bind", host, "--port", port, "--dir", dir, "--save", "",
		"--appendonly", "yes", "--appendfsync", "everysec", "--maxmemory-policy", "noeviction")
}

// keyedRedis prints how many keyed writes the gateway does on Redis, and what it asks of Redis for each.
func (b *bench) keyedRedis() error {
	server, err := b.redisServer()
	if err != nil {
		return err
	}
	if server == nil {
		fmt.Println("keyed-redis: redis-server is not installed")
		return nil
	}
	defer server.stop()
	fmt.Printf("keyed-redis: POST of 1 KiB with a fresh key, answers of 2 KiB, Redis with appendonly yes, appendfsync everysec on %s\n", b.diskName())
	state := fmt.Sprintf("{ store: redis, redis: { addresses: [%q] }, path: %q }", server.address, filepath.Join(b.dir, "spool"))
	p, err := b.oncegateOn(state, documentKeyed(b))
	if err != nil {
		return err
	}
	defer p.stop()
	client := goredis.NewClient(&goredis.Options{Addr: server.address, PoolSize: 2 * connections, MaxRetries: -1})
	defer client.Close()
	bare, err := openCalls(client, b.origin)
	if err != nil {
		return err
	}
	if err := b.firstWrite(p.address); err != nil {
		return err
	}
	if err := b.countCalls(client, p.address); err != nil {
		return err
	}
	return b.redisRows(p, bare)
}

func (b *bench) redisRows(p *process, bare *calls) error {
	row := func(name, path, said string) *series {
		return &series{name: name, run: func() (pace, error) { return b.fresh(p.address, path, said, connections, b.writes).run() }}
	}
	keyed, plain := row("keyed, 64 connections", keyedPath, executed), row("without dedup, 64 connections", plainPath, ignored)
	apart := &series{name: "bare client, 64 at once, one EVALSHA, then another", run: func() (pace, error) { return bare.load(b.writes, bare.apart) }}
	together := &series{name: "bare client, 64 at once, both in one pipeline", run: func() (pace, error) { return bare.load(b.writes, bare.together) }}
	if err := b.interleave(keyed, plain, apart, together); err != nil {
		return err
	}
	for _, s := range []*series{keyed, plain, apart, together} {
		s.print("/s")
	}
	keyed.ratio(apart)
	keyed.ratio(together)
	keyed.ratio(plain)
	fmt.Println()
	return nil
}

const (
	counted   = 1000 // writes, and then replays of them, while Redis counts
	quietFor  = time.Second
	quietWait = 40 * time.Second
)

// countCalls prints what Redis was asked for each executed write and for each replay. The gateway also looks through the open
// records by itself, at its start and twice a minute. That is printed apart, and has ended before the writes are counted.
func (b *bench) countCalls(client *goredis.Client, address string) error {
	before, err := awaitQuiet(client)
	if err != nil {
		return err
	}
	fmt.Printf("  since its start the gateway made %d EVALSHA, besides one write; nothing for %v now\n", before["evalsha"]-2, quietFor)
	var writes writeLoad
	err = countOf(client, "executed write", 2, func() writeLoad {
		writes = b.fresh(address, keyedPath, executed, connections, counted)
		return writes
	})
	if err != nil {
		return err
	}
	writes.said = replayed
	return countOf(client, "replay", 1, func() writeLoad { return writes })
}

// countOf prints the calls of a load.
func countOf(client *goredis.Client, what string, want int64, load func() writeLoad) error {
	before, err := commands(client)
	if err != nil {
		return err
	}
	if _, err := load().run(); err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	after, err := commands(client)
	if err != nil {
		return err
	}
	calls, others := after["evalsha"]-before["evalsha"], int64(0)
	for _, name := range []string{"eval", "wait", "script|load"} {
		others += after[name] - before[name]
	}
	fmt.Printf("  %d x %s: %d EVALSHA, %d EVAL, WAIT or SCRIPT LOAD: %.3f each; exactly %d: %t\n", counted, what, calls, others,
		float64(calls+others)/counted, want, calls == want*counted && others == 0)
	return nil
}

// awaitQuiet waits until no script was called for a while.
func awaitQuiet(client *goredis.Client) (map[string]int64, error) {
	for end := time.Now().Add(quietWait); time.Now().Before(end); {
		before, err := commands(client)
		if err != nil {
			return nil, err
		}
		time.Sleep(quietFor)
		after, err := commands(client)
		if err != nil || after["evalsha"] == before["evalsha"] {
			return after, err
		}
	}
	return nil, fmt.Errorf("the gateway still asks Redis by itself after %v", quietWait)
}

// commands are the calls of each command since the server began, as INFO commandstats tells.
func commands(client *goredis.Client) (map[string]int64, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	text, err := client.Info(ctx, "commandstats").Result()
	if err != nil {
		return nil, err
	}
	counts := map[string]int64{}
	for line := range strings.Lines(text) {
		name, rest, ok := strings.Cut(strings.TrimPrefix(line, "cmdstat_"), ":calls=")
		if digits, _, more := strings.Cut(rest, ","); ok && more {
			counts[name], _ = strconv.ParseInt(digits, 10, 64)
		}
	}
	return counts, nil
}
