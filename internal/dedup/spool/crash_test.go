package spool

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/oncegate/oncegate/internal/dedup/record"
)

const childFolder = "ONCEGATE_SPOOL_TEST_FOLDER"

// TestChild is the process that TestKill kills. It says what is durable, one number a line.
func TestChild(t *testing.T) {
	dir := os.Getenv(childFolder)
	if dir == "" {
		t.Skip("only for TestKill")
	}
	s, err := Open(dir, Options{})
	if err != nil {
		t.Fatal(err)
	}
	for n := range 200 {
		if err := s.Put(numbered(n)); err != nil {
			t.Fatal(err)
		}
		fmt.Printf("durable %d\n", n)
	}
	select {} // until it is killed
}

func numbered(n int) Entry {
	e := entry(byte(n), strings.Repeat("x", 4096))
	e.Token = record.Token{byte(n), byte(n >> 8)}
	return e
}

func TestKill(t *testing.T) {
	dir := t.TempDir()
	next := 0
	for _, after := range []int{0, 7, 40} {
		last := killAfter(t, dir, after)
		s := open(t, dir, Options{}) // the dead one's lock is gone with it
		kept := map[record.Token]bool{}
		if err := s.All(func(e Entry) bool { kept[e.Token] = true; return true }); err != nil {
			t.Error(err)
		}
		next = max(next, last)
		for n := range next + 1 {
			if !kept[numbered(n).Token] {
				t.Errorf("killed after %d: %d was durable and is gone", after, n)
			}
		}
		if len(kept) > next+2 {
			t.Errorf("killed after %d: %d entries", after, len(kept))
		}
		if temps, _ := onDisk(t, dir, tempSuffix); len(temps) != 0 {
			t.Errorf("half written: %q", temps)
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}
}

// killAfter runs a child until it has said n, kills it, and gives the last number that it said.
func killAfter(t *testing.T, dir string, n int) (last int) {
	t.Helper()
	child := exec.Command(os.Args[0], "-test.run=^TestChild$")
	child.Env = append(os.Environ(), childFolder+"="+dir)
	out, err := child.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	said := false
	for lines.Scan() {
		if _, err := fmt.Sscanf(lines.Text(), "durable %d", &last); err != nil {
			continue
		}
		if said = true; last == n {
			if err := child.Process.Kill(); err != nil {
				t.Error(err)
			}
		}
	}
	_ = child.Wait()
	if !said {
		t.Fatal("the child said nothing")
	}
	return last
}

// opened is a spool with a log to look into.
func opened(t *testing.T, dir string, opts Options) (*Spool, *bytes.Buffer) {
	t.Helper()
	var log bytes.Buffer
	opts.Log = slog.New(slog.NewTextHandler(&log, nil))
	return open(t, dir, opts), &log
}

func TestDamagedFilesAreSetAside(t *testing.T) {
	whole, err := entry(1, "a secret answer").encode()
	if err != nil {
		t.Fatal(err)
	}
	flipped := bytes.Clone(whole)
	flipped[len(flipped)/2] ^= 1
	foreign, _ := entry(7, "x").encode()
	for what, damaged := range map[string][]byte{
		"empty": nil, "half": whole[:len(whole)/2], "a changed bit": flipped, "longer": append(bytes.Clone(whole), 0), "another's": foreign,
	} {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, entry(1, "").name()), damaged, 0o600); err != nil {
			t.Fatal(err)
		}
		s, log := opened(t, dir, Options{})
		put(t, s, entry(2, "two"))
		holds(t, s, entry(2, "two"))
		if strings.Count(log.String(), "set aside") != 1 || strings.Contains(log.String(), "secret") {
			t.Errorf("%s: the log says %q", what, log)
		}
		aside, _ := onDisk(t, dir, asideEnd)
		if len(aside) != 1 {
			t.Errorf("%s: aside is %q", what, aside)
		}
		put(t, s, entry(1, "in its place"))
		holds(t, s, entry(1, "in its place"), entry(2, "two"))
	}
}

func TestHalfWrittenFilesAreSetAside(t *testing.T) {
	dir := t.TempDir()
	name := entry(1, "").name()
	for _, file := range []string{name + tempSuffix, "a stranger's", "x" + tempSuffix, strings.ToUpper(name)} {
		if err := os.WriteFile(filepath.Join(dir, file), []byte("half"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	s, log := opened(t, dir, Options{})
	if s.Len() != 0 || s.Bytes() != 0 || strings.Count(log.String(), "half written") != 1 {
		t.Errorf("%d entries, the log says %q", s.Len(), log)
	}
	if aside, _ := onDisk(t, dir, asideEnd); len(aside) != 1 || aside[0] != name+tempSuffix+asideEnd {
		t.Errorf("aside is %q", aside)
	}
	if _, err := os.Stat(filepath.Join(dir, "a stranger's")); err != nil {
		t.Error("a stranger's file was touched:", err)
	}
}

func TestWhatIsAsideIsBounded(t *testing.T) {
	dir := t.TempDir()
	for n := range mostAside + 10 {
		path := filepath.Join(dir, fmt.Sprintf("%03d%s", n, asideEnd))
		if err := os.WriteFile(path, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		at := time.Unix(int64(1_700_000_000+n), 0)
		if err := os.Chtimes(path, at, at); err != nil {
			t.Fatal(err)
		}
	}
	open(t, dir, Options{})
	if aside, _ := onDisk(t, dir, asideEnd); len(aside) != mostAside || aside[0] != "010"+asideEnd {
		t.Errorf("%d aside, the first is %s", len(aside), aside[0])
	}
}

// failing is a disk that breaks at one point.
type failing struct {
	*os.File
	at string
}

func (f failing) Write(b []byte) (int, error) {
	if f.at != "write" {
		return f.File.Write(b)
	}
	n, _ := f.File.Write(b[:len(b)/2])
	return n, syscall.ENOSPC
}

func (f failing) Sync() error { return f.broken("sync", f.File.Sync) }

func (f failing) Close() error { return f.broken("close", f.File.Close) }

func (f failing) broken(at string, whole func() error) error {
	if err := whole(); err != nil || f.at != at {
		return err
	}
	return syscall.EIO
}

func TestFailingDisk(t *testing.T) {
	for _, at := range []string{"create", "write", "sync", "close", "folder"} {
		dir, broken := t.TempDir(), false
		s := open(t, dir, Options{
			create: func(path string) (tempFile, error) {
				if broken && at == "create" {
					return nil, syscall.ENOSPC
				}
				f, err := os.Create(path)
				if !broken {
					return f, err
				}
				return failing{f, at}, err
			},
			syncDir: func() error {
				if broken && at == "folder" {
					return syscall.EIO
				}
				return nil
			},
		})
		put(t, s, entry(1, "one"))
		broken = true
		if err := s.Put(entry(2, "two")); !errors.Is(err, syscall.ENOSPC) && !errors.Is(err, syscall.EIO) {
			t.Errorf("%s: %v", at, err)
		}
		holds(t, s, entry(1, "one"))
		if err := s.Put(entry(1, "one, again")); err == nil {
			t.Errorf("%s: replacing went well", at)
		}
		broken = false
		if at != "folder" { // then nobody knows which of both is there, and none is better
			holds(t, s, entry(1, "one"))
		}
		put(t, s, entry(1, "three"))
		put(t, s, entry(2, "two"))
		holds(t, s, entry(1, "three"), entry(2, "two"))
	}
}

func TestUnwritableFolder(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{file, filepath.Join(file, "below")} {
		if _, err := Open(dir, Options{LockWait: -1}); err == nil || !strings.Contains(err.Error(), dir) {
			t.Errorf("%s: %v", dir, err)
		}
	}
	dir := filepath.Join(t.TempDir(), "spool")
	s := open(t, dir, Options{})
	put(t, s, entry(1, "one"))
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	if err := s.Put(entry(2, "two")); err == nil {
		t.Error("a folder that is gone takes results")
	}
	if err := s.All(func(Entry) bool { t.Error("something is there"); return true }); err != nil || s.Len() != 0 || s.Bytes() != 0 {
		t.Errorf("%v, %d entries, %d bytes", err, s.Len(), s.Bytes())
	}
}

func TestUnreadableFileIsKept(t *testing.T) {
	s := open(t, t.TempDir(), Options{})
	put(t, s, entry(1, "one"))
	path := filepath.Join(s.dir, entry(1, "").name())
	if err := errors.Join(os.Remove(path), os.Mkdir(path, 0o700)); err != nil { // reading it fails, whoever runs the test
		t.Fatal(err)
	}
	put(t, s, entry(2, "two"))
	n := 0
	if err := s.All(func(Entry) bool { n++; return true }); err == nil || n != 1 || s.Len() != 2 {
		t.Errorf("%v, %d given, %d there", err, n, s.Len())
	}
	if err := s.Put(entry(1, "one")); err == nil {
		t.Error("a file was put in the place of a folder")
	}
}
