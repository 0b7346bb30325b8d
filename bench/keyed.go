package main

import (
	"fmt"
	"math"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// documentKeyed has the same POST with and without dedup.
func documentKeyed(b *bench) string {
	return fmt.Sprintf(`upstreams: { up: { targets: ["http://%s"] } }
routes:
  - { id: keyed, match: { path: %s }, auth: none, dedup: { key: required, client: "header:X-Client" }, to: up }
  - { id: plain, match: { path: %s }, auth: none, to: up }
`, b.origin.address, keyedPath, plainPath)
}

// The Idempotency-Status of what was executed with dedup, replayed, and passed without.
const (
	executed = "executed"
	replayed = "replayed"
	ignored  = "ignored"
)

// keyed prints how many durable keyed writes the gateway does on the embedded store, and what they wait for it.
func (b *bench) keyed() error {
	fmt.Printf("keyed: POST of 1 KiB with a fresh key, answers of 2 KiB, embedded store on %s\n", b.diskName())
	p, err := b.oncegateOn(fmt.Sprintf("{ store: embedded, path: %q }", filepath.Join(b.dir, "keyed")), documentKeyed(b))
	if err != nil {
		return err
	}
	defer p.stop()
	alone, err := openAlone(filepath.Join(b.dir, "alone"), b.origin)
	if err != nil {
		return err
	}
	defer alone.close()
	few := max(b.writes/20, 100)
	row := func(name, path, said string, connections, n int) *series {
		return &series{name: name, run: func() (pace, error) { return b.fresh(p.address, path, said, connections, n).run() }}
	}
	keyed := row("keyed, 64 connections", keyedPath, executed, connections, b.writes)
	plain := row("without dedup, 64 connections", plainPath, ignored, connections, b.writes)
	pebble := &series{name: "Pebble alone, 64 writers, two batches a write", run: func() (pace, error) { return alone.load(connections, b.writes) }}
	keyedOne := row("keyed, one connection", keyedPath, executed, 1, few)
	plainOne := row("without dedup, one connection", plainPath, ignored, 1, few)
	disk := &series{name: "disk alone: 2 KiB appended and synced, one writer", run: func() (pace, error) { return b.syncs(few) }}
	if err := b.interleave(keyed, plain, pebble, keyedOne, plainOne, disk); err != nil {
		return err
	}
	for _, s := range []*series{keyed, plain, pebble, keyedOne, plainOne, disk} {
		s.print("/s")
	}
	keyed.ratio(pebble)
	keyed.ratio(plain)
	added(keyed, plain, disk)
	added(keyedOne, plainOne, disk)
	fmt.Println()
	return nil
}

// added prints what dedup adds to the 99th percentile, beside three syncs of the disk.
func added(keyed, plain, disk *series) {
	more, bound := ms(keyed.percentile(.99)-plain.percentile(.99)), 3*ms(disk.percentile(.99))
	fmt.Printf("  p99 added %.2f ms; 3 x the disk's p99 are %.2f ms; ratio %.2f: %s\n", more, bound, more/math.Max(bound, .001), keyed.name)
}

// syncs appends 2 KiB to a file and syncs it, again and again.
func (b *bench) syncs(n int) (pace, error) {
	file, err := os.Create(filepath.Join(b.dir, "syncs"))
	if err != nil {
		return pace{}, err
	}
	defer file.Close()
	return paced(1, n, func() (func() error, func(), error) {
		return func() error {
			if _, err := file.Write(b.origin.some()); err != nil {
				return err
			}
			return unix.Fdatasync(int(file.Fd()))
		}, nil, nil
	})
}

// firstWrite waits until the gateway takes keyed writes: a store that is not in the process may need a moment.
func (b *bench) firstWrite(address string) (err error) {
	for range 100 {
		if _, err = b.fresh(address, keyedPath, executed, 1, 1).run(); err == nil {
			return nil
		}
		time.Sleep(100 * time.Millisecond)
	}
	return err
}
