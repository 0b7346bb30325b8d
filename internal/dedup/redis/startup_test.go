package redis

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/oncegate/oncegate/internal/dedup"
	"github.com/oncegate/oncegate/internal/redisconn"
	"github.com/oncegate/oncegate/internal/redistest"
)

// refusedAtStart wants Open to fail with a message that says what to set.
func refusedAtStart(t *testing.T, cfg Config, want string) {
	t.Helper()
	s, err := Open(context.Background(), cfg, Deps{})
	if err == nil {
		s.Close()
		t.Errorf("%+v was taken", cfg)
		return
	}
	if !strings.Contains(err.Error(), want) {
		t.Errorf("%q doesn't say %q", err, want)
	}
}

func TestEdge19WhatNeverBecomesRight(t *testing.T) {
	for policy, want := range map[string]string{"allkeys-lru": "set maxmemory-policy to noeviction", "volatile-ttl": "set maxmemory-policy to noeviction"} {
		refusedAtStart(t, single(redistest.Start(t, "--maxmemory-policy", policy)), want)
	}
	locked := redistest.Start(t)
	set(t, locked, "requirepass", "right")
	refusedAtStart(t, single(locked), "set username and password")
	cfg := single(locked)
	cfg.Password = "wrong"
	refusedAtStart(t, cfg, "set username and password")
	cfg.Password = "right"
	open(t, cfg, Deps{})

	plain := redistest.Start(t)
	refusedAtStart(t, Config{Server: redisconn.Server{Mode: redisconn.Cluster, Addresses: []string{plain.Addr}}, Prefix: "p"}, "set mode to single")
	refusedAtStart(t, Config{Server: redisconn.Server{Mode: redisconn.Sentinel, Addresses: []string{plain.Addr}, Master: "oncegate"}, Prefix: "p"}, "set addresses to the sentinels")
	refusedAtStart(t, single(redistest.Start(t, "--cluster-enabled", "yes")), "set mode to cluster")
	if _, err := plain.Do("SET", "p:secret", "of somebody else"); err != nil {
		t.Fatal(err)
	}
	refusedAtStart(t, Config{Server: redisconn.Server{Mode: redisconn.Single, Addresses: []string{plain.Addr}}, Prefix: "p"}, "set prefix")
}

func TestConfigIsChecked(t *testing.T) {
	good := Config{Server: redisconn.Server{Mode: redisconn.Single, Addresses: []string{"127.0.0.1:1"}}, Prefix: "p"}
	for want, spoil := range map[string]func(*Config){
		"mode":          func(c *Config) { c.Mode = "" },
		"no address":    func(c *Config) { c.Addresses = nil },
		"one address":   func(c *Config) { c.Addresses = append(c.Addresses, "127.0.0.1:2") },
		"master":        func(c *Config) { c.Mode = redisconn.Sentinel },
		"database":      func(c *Config) { c.Mode, c.Database = redisconn.Cluster, 1 },
		"wait_replicas": func(c *Config) { c.WaitReplicas = -1 },
		"prefix":        func(c *Config) { c.Prefix = "{p}" },
		"host:port":     func(c *Config) { c.Addresses = []string{"nowhere"} },
	} {
		cfg := good
		spoil(&cfg)
		refusedAtStart(t, cfg, want)
	}
}

func TestWarnings(t *testing.T) {
	for want, args := range map[string][]string{
		"append-only file": nil,
		"last second":      {"--appendonly", "yes", "--appendfsync", "everysec"},
		"":                 durable,
	} {
		log := &pages{}
		s := stillWith(t, single(redistest.Start(t, args...)), Deps{Log: logger(log)})
		if err := s.watch(context.Background()); err != nil { // the second look must not repeat it
			t.Error(err)
		}
		lines := log.all()
		if want == "" && len(lines) > 0 || want != "" && (len(lines) != 1 || !strings.Contains(lines[0], want)) {
			t.Errorf("%v: %q", args, lines)
		}
	}
	log := &pages{}
	cfg := single(redistest.Start(t, durable...))
	cfg.WaitReplicas = 2
	s, err := Open(context.Background(), cfg, Deps{Log: logger(log)})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if lines := strings.Join(log.all(), "\n"); !strings.Contains(lines, "fewer replicas online") {
		t.Error(lines)
	}
	if _, err := s.Secret(context.Background()); !errors.Is(err, dedup.ErrRefused) {
		t.Errorf("a new secret that no replica has is used: %v", err)
	}
	refusedBegin(t, s, numbered(1))
}

// TestSecretOutlivesReplicas: a secret that was there before needs no proof, or a restart could replay nothing.
func TestSecretOutlivesReplicas(t *testing.T) {
	primary, replica := replicated(t)
	cfg := single(primary)
	cfg.WaitReplicas = 1
	before, _ := open(t, cfg, Deps{}).Secret(context.Background())
	replica.Kill()
	if after, err := open(t, cfg, Deps{}).Secret(context.Background()); err != nil || after != before {
		t.Errorf("%x, %v; want %x", after, err, before)
	}
}

// TestOtherSecret: records under another secret would never be found again, so nothing is asked for at all.
func TestOtherSecret(t *testing.T) {
	server, log := redistest.Start(t), &pages{}
	s := open(t, single(server), Deps{Log: logger(log)})
	mineNow, err := s.Secret(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	second := open(t, s.cfg, Deps{})
	if same, _ := second.Secret(context.Background()); same != mineNow {
		t.Error("two gateways have two secrets")
	}
	if _, err := server.Do("SET", s.names.secret(), strings.Repeat("x", 32)); err != nil {
		t.Fatal(err)
	}
	await(t, 10*time.Second, "the other secret is noticed", func() bool { return s.ready() != nil })
	refusedBegin(t, s, numbered(1))
	if _, err := finish(s, numbered(1), mine, result(3)); !errors.Is(err, dedup.ErrRefused) {
		t.Errorf("finish: %v", err)
	}
	if _, err := s.Secret(context.Background()); !errors.Is(err, dedup.ErrRefused) {
		t.Errorf("secret: %v", err)
	}
	await(t, 10*time.Second, "it is logged", func() bool {
		return strings.Contains(strings.Join(log.all(), "\n"), "ERROR redis can't be used error=redis holds another secret")
	})
	if _, err := server.Do("SET", s.names.secret(), string(mineNow[:])); err != nil {
		t.Fatal(err)
	}
	awaitReady(t, s)
}

func TestNames(t *testing.T) {
	server := redistest.Start(t, "--cluster-enabled", "yes")
	names, err := newNames("p")
	if err != nil {
		t.Fatal(err)
	}
	for i := range 50 {
		key := numbered(i)
		of := names.of(key)
		if back, ok := names.recordKey(of[0]); !ok || back != key {
			t.Errorf("%s is read as %x", of[0], back)
		}
		for _, name := range append(of, names.open(bucketOf(key))) {
			slot, err := server.Do("CLUSTER", "KEYSLOT", name)
			if err != nil || slot != int64(names.slot[bucketOf(key)]) {
				t.Errorf("%s: slot %v, %v; want %d", name, slot, err, names.slot[bucketOf(key)])
			}
		}
	}
	if slot, _ := server.Do("CLUSTER", "KEYSLOT", names.secret()); slot != int64(slotOf(names.secret())) {
		t.Errorf("the secret's slot is %v", slot)
	}
	for _, name := range []string{"", "p:{000}:r:", "p:{000}:r:!!", "p:{000}:open"} {
		if _, ok := names.recordKey(name); ok {
			t.Errorf("%q names a record", name)
		}
	}
}
