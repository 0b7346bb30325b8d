package embedded

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"strings"
	"syscall"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/bloom"
	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/oncegate/oncegate/internal/dedup/record"
	"github.com/oncegate/oncegate/internal/failpoint"
)

// Options of a store. Zero values give the defaults.
type Options struct {
	Log        *slog.Logger
	MinFree    int64         // bytes that must be free on the disk for a new claim: 128 MiB
	Ballast    int64         // bytes held back in a file that is given up when the disk is full: 32 MiB; below 0: none
	LockWait   time.Duration // how long to wait for another process to leave the folder: 5s; below 0: not at all
	SweepEvery time.Duration // 10s

	now  func() time.Time
	free func(path string) (int64, error)
	fs   vfs.FS
	exit func(code int)
}

func (o Options) filled() Options {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.MinFree == 0 {
		o.MinFree = 128 << 20
	}
	if o.Ballast == 0 {
		o.Ballast = 32 << 20
	}
	if o.LockWait == 0 {
		o.LockWait = 5 * time.Second
	}
	if o.SweepEvery <= 0 {
		o.SweepEvery = 10 * time.Second
	}
	if o.now == nil {
		o.now = record.Clock()
	}
	if o.free == nil {
		o.free = freeBytes
	}
	if o.fs == nil {
		o.fs = vfs.Default
	}
	if o.exit == nil {
		o.exit = os.Exit
	}
	return o
}

// Open opens the folder, makes it if it is not there, and marks what an earlier run left in flight as unknown. Errors name
// the folder: it can't be made or written, it is on a network, or another process holds it.
func Open(path string, opts Options) (*Store, error) {
	s := &Store{path: path, opts: opts.filled(), swept: make(chan struct{})}
	for i := range s.stripes {
		s.stripes[i] = make(chan struct{}, 1)
	}
	if err := s.openFolder(); err != nil {
		return nil, fmt.Errorf("data folder %s: %w", path, err)
	}
	ctx, stop := context.WithCancel(context.Background())
	s.stop = stop
	go s.sweepLoop(ctx)
	return s, nil
}

func (s *Store) openFolder() error {
	if err := s.opts.fs.MkdirAll(s.path, 0o700); err != nil {
		return err
	}
	if err := refuseNetwork(s.path); err != nil {
		return err
	}
	lock, err := s.lock()
	if err != nil {
		return err
	}
	ballast := newBallast(s.path, s.opts)
	s.db, err = pebble.Open(s.path, s.pebbleOptions(lock, ballast))
	if err != nil {
		return errors.Join(err, lock.Close())
	}
	if err := s.takeOver(); err != nil {
		return errors.Join(err, s.db.Close())
	}
	return lock.Close() // the database holds it on
}

// lock takes the folder for this process. A predecessor may still be draining, so it waits a while, and says so.
func (s *Store) lock() (*pebble.Lock, error) {
	said := false
	for end := time.Now().Add(s.opts.LockWait); ; time.Sleep(100 * time.Millisecond) {
		lock, err := pebble.LockDirectory(s.path, s.opts.fs)
		switch {
		case err == nil:
			return lock, nil
		case !isLocked(err):
			return nil, err
		case !time.Now().Before(end):
			return nil, errors.New("in use by another process")
		}
		if !said {
			s.opts.Log.Warn("the data folder is in use by another process; waiting for it", "path", s.path, "at_most", s.opts.LockWait.String())
			said = true
		}
	}
}

// isLocked tells a held lock from a file that can't be made. The lock call gives a bare EAGAIN or EACCES.
func isLocked(err error) bool {
	var file *fs.PathError
	if errors.As(err, &file) {
		return false
	}
	return errors.Is(err, syscall.EAGAIN) || errors.Is(err, syscall.EACCES) || strings.Contains(err.Error(), "held by current process")
}

func (s *Store) pebbleOptions(lock *pebble.Lock, b *ballast) *pebble.Options {
	o := &pebble.Options{
		FS:           vfs.OnDiskFull(s.opts.fs, b.release),
		Lock:         lock,
		Logger:       pebbleLog{s.opts.Log, s.opts.exit},
		MemTableSize: 32 << 20,
		CacheSize:    96 << 20, // of which Pebble takes off its memtables: the rest has to hold the filters, or each claim reads the disk
	}
	if failpoint.Enabled {
		o.EventListener = endings()
	}
	for i := range o.Levels { // most claims ask for a key that is not there
		o.Levels[i].FilterPolicy = bloom.FilterPolicy(10)
	}
	return o
}

// endings has the process end inside a flush, when the table is there and nothing points at it, and behind a compaction.
func endings() *pebble.EventListener {
	return &pebble.EventListener{
		TableCreated: func(i pebble.TableCreateInfo) {
			if i.Reason == "flushing" {
				failpoint.Hit(failpoint.MemtableFlush)
			}
		},
		CompactionEnd: func(pebble.CompactionInfo) { failpoint.Hit(failpoint.CompactionDone) },
	}
}
