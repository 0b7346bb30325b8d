package main

import (
	"crypto/rand"
	"encoding/binary"
	"errors"
	"log"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/bloom"

	"github.com/oncegate/oncegate/internal/dedup/record"
)

// alone is Pebble without a gateway around it, with the options of package embedded.
type alone struct {
	db     *pebble.DB
	origin *origin
}

func openAlone(path string, o *origin) (*alone, error) {
	opts := &pebble.Options{MemTableSize: 32 << 20, CacheSize: 128 << 20, Logger: quiet{}}
	for i := range opts.Levels {
		opts.Levels[i].FilterPolicy = bloom.FilterPolicy(10)
	}
	db, err := pebble.Open(path, opts)
	return &alone{db, o}, err
}

func (a *alone) close() { _ = a.db.Close() }

func (a *alone) load(writers, n int) (pace, error) {
	return paced(writers, n, func() (func() error, func(), error) { return a.write, nil, nil })
}

// write is what a keyed write puts into the database: a claim and a result, each in a synced batch, with the entries and the
// sizes that package embedded gives them. Nothing is read or decided.
func (a *alone) write() error {
	var key record.Key
	rand.Read(key[:])
	now := time.Now()
	until := func(d time.Duration) []byte { return binary.BigEndian.AppendUint64(nil, uint64(now.Add(d).UnixNano())) }
	r := record.Record{State: record.InFlight, Route: "keyed", Epoch: 1, Begun: now.UnixNano()}
	rand.Read(r.Fingerprint[:])
	rand.Read(r.Token[:])
	claim := a.db.NewBatch()
	err := errors.Join(
		claim.Set(entry('r', nil, key), r.Append(nil), nil),
		claim.Set(entry('x', until(72*time.Hour), key), nil, nil),
		claim.Set(entry('f', nil, key), nil, nil),
		claim.Commit(pebble.Sync), claim.Close())
	r.State, r.Status, r.RequestID = record.Completed, 200, "0123456789abcdef0123456789abcdef"
	result := a.db.NewBatch()
	return errors.Join(err,
		result.Set(entry('a', until(24*time.Hour), key), append(a.origin.some(), answerHead...), nil),
		result.Set(entry('r', nil, key), r.Append(nil), nil),
		result.SingleDelete(entry('f', nil, key), nil),
		result.Commit(pebble.Sync), result.Close())
}

// answerHead is about what an answer is kept with.
const answerHead = "200 content-type application/octet-stream content-length 2048 ..."

func entry(prefix byte, point []byte, key record.Key) []byte {
	return append(append([]byte{prefix}, point...), key[:]...)
}

// quiet keeps what Pebble does routinely out of the report.
type quiet struct{}

func (quiet) Infof(string, ...any)              {}
func (quiet) Errorf(format string, args ...any) { log.Printf(format, args...) }
func (quiet) Fatalf(format string, args ...any) { log.Fatalf(format, args...) }
