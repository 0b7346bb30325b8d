package spool

import (
	"cmp"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

const (
	suffix     = ".result"
	tempSuffix = ".tmp"   // behind a name: being written
	asideEnd   = ".aside" // behind a name: damaged, kept for whoever wants to look
	mostAside  = 64       // the oldest go
	lockFile   = "LOCK"
	lockEvery  = 100 * time.Millisecond
	nameLength = 2*20 + len(suffix)
)

func (s *Spool) open() error {
	if err := makeFolder(s.dir); err != nil {
		return err
	}
	info, err := os.Stat(s.dir)
	if err != nil {
		return err
	}
	if perm := info.Mode().Perm(); perm&0o077 != 0 {
		if err := os.Chmod(s.dir, perm&0o700); err != nil {
			return err
		}
	}
	if s.lock, err = s.takeLock(); err != nil {
		return err
	}
	if s.folder, err = os.Open(s.dir); err != nil {
		return err
	}
	return s.list()
}

// makeFolder makes a folder that is there after a crash: each new name is synced in the folder above it.
func makeFolder(dir string) error {
	if _, err := os.Stat(dir); err == nil || !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	above := filepath.Dir(dir)
	if err := makeFolder(above); err != nil {
		return err
	}
	if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	f, err := os.Open(above)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

func (s *Spool) closeFiles() (err error) {
	for _, f := range []*os.File{s.folder, s.lock} {
		if f != nil {
			err = errors.Join(err, f.Close())
		}
	}
	return err
}

// takeLock holds the folder as long as the file is open: a process that dies leaves it. A predecessor may still be draining.
func (s *Spool) takeLock() (*os.File, error) {
	f, err := os.OpenFile(filepath.Join(s.dir, lockFile), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	for end, said := time.Now().Add(s.opts.LockWait), false; ; time.Sleep(lockEvery) {
		err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		switch {
		case err == nil:
			return f, nil
		case errors.Is(err, unix.EINTR):
			continue
		case !errors.Is(err, unix.EWOULDBLOCK):
			return nil, errors.Join(fmt.Errorf("locking it: %w", err), f.Close())
		case !time.Now().Before(end):
			return nil, errors.Join(ErrInUse, f.Close())
		}
		if !said {
			s.opts.Log.Warn("the spool folder is in use by another process; waiting for it", "path", s.dir, "at_most", s.opts.LockWait.String())
			said = true
		}
	}
}

// list counts what is there, and sets aside what was being written when an earlier process died.
func (s *Spool) list() error {
	entries, err := os.ReadDir(s.dir)
	if err != nil {
		return err
	}
	var aside []string
	for _, entry := range entries {
		name := entry.Name()
		if strings.HasSuffix(name, asideEnd) {
			aside = append(aside, name)
		}
		if unfinished, is := strings.CutSuffix(name, tempSuffix); is && isName(unfinished) {
			s.aside(name, errors.New("half written"))
			continue
		}
		if !isName(name) {
			continue
		}
		info, err := entry.Info()
		if err != nil {
			return err
		}
		s.files[name] = info.Size()
		s.bytes += info.Size()
	}
	s.thinAside(aside)
	return nil
}

func isName(name string) bool {
	if len(name) != nameLength || !strings.HasSuffix(name, suffix) {
		return false
	}
	_, err := hex.DecodeString(strings.TrimSuffix(name, suffix))
	return err == nil && strings.ToLower(name) == name
}

func hexDigit(c byte) int {
	if c >= 'a' {
		return int(c-'a') + 10
	}
	return int(c - '0')
}

func create(path string) (tempFile, error) {
	return os.OpenFile(path, os.O_CREATE|os.O_TRUNC|os.O_WRONLY|unix.O_NOFOLLOW, 0o600)
}

// write puts a file in place whole or not at all. The caller holds the name.
func (s *Spool) write(name string, b []byte) error {
	path := filepath.Join(s.dir, name)
	temp := path + tempSuffix
	if err := s.fill(temp, b); err != nil {
		return errors.Join(err, gone(temp))
	}
	if err := os.Rename(temp, path); err != nil {
		return errors.Join(err, gone(temp))
	}
	if err := s.opts.syncDir(); err != nil { // nobody knows whether it is durable, so it must not look as if it were kept
		return errors.Join(err, gone(path))
	}
	return nil
}

func (s *Spool) fill(temp string, b []byte) error {
	f, err := s.opts.create(temp)
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	if err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}

// gone removes a file; one that is not there is fine.
func gone(path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// read gives an entry; false: it is gone, or was set aside, or can't be read, which is the error.
func (s *Spool) read(name string) (Entry, bool, error) {
	defer s.only(name)()
	s.mu.Lock()
	_, there := s.files[name]
	closed := s.closed
	s.mu.Unlock()
	if closed || !there {
		return Entry{}, false, nil
	}
	b, err := os.ReadFile(filepath.Join(s.dir, name))
	if errors.Is(err, fs.ErrNotExist) {
		s.forget(name)
		return Entry{}, false, nil
	}
	if err != nil { // it may be readable another time
		return Entry{}, false, fmt.Errorf("spool: %w", err)
	}
	e, err := decode(b)
	if err == nil && e.name() != name {
		err = fmt.Errorf("%w: it belongs to another name", errDamaged)
	}
	if err != nil {
		s.aside(name, err)
		s.forget(name)
		return Entry{}, false, nil
	}
	return e, true, nil
}

// aside takes a file out of the way that can't be used.
func (s *Spool) aside(name string, why error) {
	path := filepath.Join(s.dir, name)
	err := os.Rename(path, path+asideEnd)
	if err != nil {
		err = errors.Join(err, gone(path))
	}
	s.opts.Log.Error("a spooled result can't be used and is set aside", "file", path+asideEnd, "reason", why.Error(), "error", err)
}

// thinAside bounds what was set aside.
func (s *Spool) thinAside(names []string) {
	age := func(name string) int64 {
		info, err := os.Lstat(filepath.Join(s.dir, name))
		if err != nil {
			return 0
		}
		return info.ModTime().UnixNano()
	}
	slices.SortFunc(names, func(a, b string) int { return cmp.Compare(age(a), age(b)) })
	for len(names) > mostAside {
		if err := gone(filepath.Join(s.dir, names[0])); err != nil {
			s.opts.Log.Warn("a file that was set aside can't be removed", "file", names[0], "error", err)
		}
		names = names[1:]
	}
}
