// Package spool keeps results on the local disk that a store did not take, until it takes them.
//
// It promises that what Put took is there after a crash of the process or the machine, once, whole and unchanged, until Delete;
// that it never grows beyond its bounds; and that a damaged file costs that one result only. It does not promise that Delete is
// durable at once: after a crash an entry may come back, and telling a store the same result twice is harmless. It does not
// encrypt: answers come sealed, and the folder is its owner's alone. When the disk fails Put says so and leaves nothing behind.
package spool

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"
)

// The errors that a caller may want to tell apart.
var (
	ErrFull   = errors.New("spool: full")
	ErrInUse  = errors.New("spool: in use by another process")
	ErrClosed = errors.New("spool: closed")
)

// Options bound a spool. Zero values give the defaults.
type Options struct {
	MaxEntries int           // 4096
	MaxBytes   int64         // of all files: 64 MiB
	LockWait   time.Duration // how long to wait for another process to leave the folder: 5s; below 0: not at all
	Log        *slog.Logger

	create  func(path string) (tempFile, error)
	syncDir func() error
}

// tempFile is what a result is written to.
type tempFile interface {
	Write(b []byte) (int, error)
	Sync() error
	Close() error
}

// Spool is a folder with one file for each result. Its methods may be called at the same time. It needs no goroutine.
type Spool struct {
	dir    string
	opts   Options
	lock   *os.File
	folder *os.File
	names  [64]sync.Mutex // by file name: one writer or reader for each file

	mu     sync.Mutex
	files  map[string]int64 // sizes by name, also of what is being written
	bytes  int64
	closed bool
}

// Open takes the folder for this process, and makes it if it is not there. What a crash left half written is set aside. Errors
// name the folder; ErrInUse is wrapped when another process has it.
func Open(dir string, opts Options) (*Spool, error) {
	s := &Spool{dir: dir, opts: opts, files: map[string]int64{}}
	if s.opts.MaxEntries <= 0 {
		s.opts.MaxEntries = 4096
	}
	if s.opts.MaxBytes <= 0 {
		s.opts.MaxBytes = 64 << 20
	}
	if s.opts.LockWait == 0 {
		s.opts.LockWait = 5 * time.Second
	}
	if s.opts.Log == nil {
		s.opts.Log = slog.New(slog.DiscardHandler)
	}
	if s.opts.create == nil {
		s.opts.create = create
	}
	if err := s.open(); err != nil {
		return nil, fmt.Errorf("spool folder %s: %w", dir, errors.Join(err, s.closeFiles()))
	}
	if s.opts.syncDir == nil {
		s.opts.syncDir = s.folder.Sync
	}
	return s, nil
}

// Put keeps an entry; one of the same key and token is replaced. It is durable when Put returns nil. ErrFull is wrapped when it
// would exceed a bound. After an error the entry is not kept, and one that it was to replace may be gone.
func (s *Spool) Put(e Entry) error {
	b, err := e.encode()
	if err != nil {
		return err
	}
	name := e.name()
	defer s.only(name)()
	undo, err := s.reserve(name, int64(len(b)))
	if err != nil {
		return err
	}
	if err := s.write(name, b); err != nil {
		undo()
		return fmt.Errorf("spool: %w", err)
	}
	return nil
}

// Delete forgets an entry by its key and token; one that is not there is fine.
func (s *Spool) Delete(e Entry) error {
	name := e.name()
	defer s.only(name)()
	s.mu.Lock()
	_, there := s.files[name]
	closed := s.closed
	s.mu.Unlock()
	switch {
	case closed:
		return ErrClosed
	case !there:
		return nil
	}
	if err := os.Remove(filepath.Join(s.dir, name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("spool: %w", err)
	}
	s.forget(name)
	return nil
}

// All calls f with every entry, in no order, until f returns false. f may call the other methods. What is damaged is set aside
// and logged; the error tells of files that could not be read.
func (s *Spool) All(f func(Entry) bool) error {
	s.mu.Lock()
	names := make([]string, 0, len(s.files))
	for name := range s.files {
		names = append(names, name)
	}
	closed := s.closed
	s.mu.Unlock()
	if closed {
		return ErrClosed
	}
	var failed error
	for _, name := range names {
		e, ok, err := s.read(name)
		failed = errors.Join(failed, err)
		if ok && !f(e) {
			break
		}
	}
	return failed
}

// Len is how many entries there are.
func (s *Spool) Len() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.files)
}

// Bytes is what their files take.
func (s *Spool) Bytes() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.bytes
}

// Close waits for calls that run and leaves the folder to others. The entries stay.
func (s *Spool) Close() error {
	for i := range s.names {
		s.names[i].Lock()
		defer s.names[i].Unlock()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil
	}
	s.closed = true
	return s.closeFiles()
}

// only keeps others off a file; the result lets them on again.
func (s *Spool) only(name string) (done func()) {
	m := &s.names[(hexDigit(name[0])<<4|hexDigit(name[1]))%len(s.names)]
	m.Lock()
	return m.Unlock
}

// reserve counts a file before it is written, so that calls at the same time don't exceed a bound together. undo takes that
// back, as far as the disk agrees.
func (s *Spool) reserve(name string, size int64) (undo func(), err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	old, replaces := s.files[name]
	switch {
	case s.closed:
		return nil, ErrClosed
	case !replaces && len(s.files) >= s.opts.MaxEntries:
		return nil, fmt.Errorf("%w: %d results", ErrFull, len(s.files))
	case s.bytes-old+size > s.opts.MaxBytes:
		return nil, fmt.Errorf("%w: %d bytes, and %d more", ErrFull, s.bytes, size-old)
	}
	s.files[name] = size
	s.bytes += size - old
	return func() {
		if info, err := os.Lstat(filepath.Join(s.dir, name)); err == nil { // what it would have replaced
			s.count(name, info.Size())
			return
		}
		s.forget(name)
	}, nil
}

func (s *Spool) count(name string, size int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.bytes += size - s.files[name]
	s.files[name] = size
}

func (s *Spool) forget(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.bytes -= s.files[name]
	delete(s.files, name)
}
