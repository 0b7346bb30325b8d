package embedded

import (
	"bufio"
	"context"
	"encoding/binary"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/oncegate/oncegate/internal/dedup/record"
)

// nth makes the nth key, token and answer of the crash tests.
func nth(n int) (record.Key, record.Token, []byte) {
	var k record.Key
	binary.BigEndian.PutUint64(k[:], uint64(n)*0x9e3779b97f4a7c15)
	var t record.Token
	binary.BigEndian.PutUint64(t[:], uint64(n)+1)
	return k, t, fmt.Appendf(nil, "answer %d", n)
}

// work claims and finishes the nth key, and tells what was acknowledged.
func work(s *Store, n int, tell func(word string, n int)) error {
	k, tok, answer := nth(n)
	f, err := s.Begin(context.Background(), k, record.Claim{Token: tok, Lease: time.Minute, KeepKey: time.Hour, Grant: true})
	if err != nil || f.Verdict != record.Acquired {
		return fmt.Errorf("begin %d: %s, %w", n, f.Verdict, err)
	}
	tell("claimed", n)
	r := record.Result{State: record.Completed, Status: 201, Answer: answer, KeepAnswer: time.Hour, KeepKey: time.Hour}
	if o, err := s.Finish(context.Background(), k, tok, r); err != nil || o != record.Stored {
		return fmt.Errorf("finish %d: %s, %w", n, o, err)
	}
	tell("finished", n)
	return nil
}

// check demands of every acknowledged step that a duplicate is told so, and that none may execute.
func check(t *testing.T, s *Store, said map[int]string) {
	t.Helper()
	for n, word := range said {
		k, _, answer := nth(n)
		f, err := s.Begin(context.Background(), k, record.Claim{Token: record.Token{0xff}, Lease: time.Minute, KeepKey: time.Hour, Grant: true})
		switch {
		case err != nil:
			t.Errorf("%d: %v", n, err)
		case f.Verdict == record.Replay && string(f.Answer) == string(answer) && f.Status == 201:
		case f.Verdict == record.Undetermined && word == "claimed":
		default:
			t.Errorf("%d was %s; now %s %q", n, word, f.Verdict, f.Answer)
		}
	}
}

func childWrites(path string) {
	s, err := Open(path, Options{Ballast: -1})
	if err != nil {
		fmt.Println("error", err)
		os.Exit(1)
	}
	var out sync.Mutex
	for g := range 8 {
		go func() {
			for n := g; ; n += 8 {
				err := work(s, n, func(word string, n int) {
					out.Lock()
					fmt.Println(word, n)
					out.Unlock()
				})
				if err != nil {
					fmt.Println("error", err)
					os.Exit(1)
				}
			}
		}()
	}
	select {}
}

func childHolds(path string) {
	if _, err := Open(path, Options{Ballast: -1}); err != nil {
		fmt.Println("error", err)
		os.Exit(1)
	}
	fmt.Println("holding")
	select {}
}

// childFails has the store's disk fail: the process must end by itself, whatever recovers around the call.
func childFails(path string) {
	s, err := Open(path, Options{Ballast: -1, Log: slog.New(slog.NewTextHandler(os.Stdout, nil))})
	if err != nil {
		os.Exit(3)
	}
	defer func() { _ = recover() }()
	pebbleLog{s.opts.Log, s.opts.exit}.Fatalf("disk %s", "broken")
	os.Exit(0)
}

func child(t *testing.T, role, path string) *exec.Cmd {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), "EMBEDDED_TEST_CHILD="+role, "EMBEDDED_TEST_PATH="+path)
	return cmd
}

// started starts a child whose lines are read, and ends it with the test.
func started(t *testing.T, role, path string) (*exec.Cmd, *bufio.Scanner) {
	t.Helper()
	cmd := child(t, role, path)
	pipe, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	return cmd, bufio.NewScanner(pipe)
}

func TestKilledProcessLosesNothing(t *testing.T) {
	for round := range 3 {
		path := t.TempDir()
		cmd, lines := started(t, "write", path)
		said := map[int]string{}
		stop := 200 + rand.IntN(400)
		for lines.Scan() {
			var word string
			var n int
			if _, err := fmt.Sscan(lines.Text(), &word, &n); err != nil || word == "error" {
				t.Fatalf("the child says %q", lines.Text())
			}
			said[n] = word
			if stop--; stop == 0 {
				if err := cmd.Process.Kill(); err != nil { // and then read what it said until it died
					t.Fatal(err)
				}
			}
		}
		if stop > 0 || len(said) < 50 {
			t.Fatalf("round %d: the child ended early", round)
		}
		_ = cmd.Wait()
		check(t, open(t, path, Options{}), said)
	}
}

func TestPowerLossLosesNothing(t *testing.T) {
	for seed := range uint64(8) {
		disk := vfs.NewCrashableMem()
		free := func(string) (int64, error) { return 1 << 40, nil }
		s := open(t, "data", Options{fs: disk, free: free})
		var mu sync.Mutex
		said := map[int]string{}
		var wg sync.WaitGroup
		crash := make(chan struct{})
		var after *vfs.MemFS
		var atCrash map[int]string
		for g := range 8 {
			wg.Go(func() {
				for n := g; n < 400; n += 8 {
					if err := work(s, n, func(word string, n int) {
						mu.Lock()
						defer mu.Unlock()
						if said[n] = word; len(said) == 100 && after == nil {
							atCrash = map[int]string{}
							for n, word := range said {
								atCrash[n] = word
							}
							// Half of what was not synced is there, a different half each time.
							after = disk.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: 50, RNG: rand.New(rand.NewPCG(seed, 1))})
							close(crash)
						}
					}); err != nil {
						t.Error(err)
					}
				}
			})
		}
		<-crash
		wg.Wait()
		check(t, open(t, "data", Options{fs: after, free: free}), atCrash)
	}
}

func TestEdge24LockedFolderIsNamed(t *testing.T) {
	path := t.TempDir()
	_, lines := started(t, "hold", path)
	if !lines.Scan() || lines.Text() != "holding" {
		t.Fatalf("the child says %q", lines.Text())
	}
	begun := time.Now()
	_, err := Open(path, Options{Ballast: -1, LockWait: 200 * time.Millisecond})
	if err == nil || !strings.Contains(err.Error(), path) || !strings.Contains(err.Error(), "another process") {
		t.Errorf("got %v", err)
	}
	if d := time.Since(begun); d < 200*time.Millisecond || d > 5*time.Second {
		t.Errorf("it took %s", d)
	}
}

func TestEdge25NextProcessWaitsForTheFolder(t *testing.T) {
	path := t.TempDir()
	first := open(t, path, Options{})
	begin(t, first, 1, token(1))
	opened := make(chan error)
	go func() {
		second, err := Open(path, Options{Ballast: -1, LockWait: 30 * time.Second})
		if err == nil {
			err = second.Close()
		}
		opened <- err
	}()
	select {
	case err := <-opened:
		t.Fatalf("opened while it was held: %v", err)
	case <-time.After(150 * time.Millisecond):
	}
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	if err := <-opened; err != nil {
		t.Error(err)
	}
}

func TestImpossibleFolderIsNamed(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{filepath.Join(file, "data"), file} {
		if _, err := Open(path, Options{LockWait: 10 * time.Second}); err == nil || !strings.Contains(err.Error(), path) {
			t.Errorf("%s: %v", path, err)
		}
	}
	readOnly := t.TempDir()
	if err := os.Chmod(readOnly, 0o500); err != nil {
		t.Fatal(err)
	}
	if os.Getuid() != 0 {
		if _, err := Open(readOnly, Options{LockWait: 10 * time.Second}); err == nil || !strings.Contains(err.Error(), readOnly) || strings.Contains(err.Error(), "another") {
			t.Errorf("a folder that can't be written: %v", err)
		}
	}
}

func TestEdge27FailedDiskEndsTheProcess(t *testing.T) {
	cmd := child(t, "fail", t.TempDir())
	out, err := cmd.Output()
	if cmd.ProcessState.ExitCode() != 1 || !strings.Contains(string(out), "disk broken") {
		t.Errorf("exit %d, %v: %s", cmd.ProcessState.ExitCode(), err, out)
	}
}
