package embedded

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"

	"github.com/cockroachdb/pebble/v2/vfs"
	"golang.org/x/sys/unix"
)

// freeBytes is what an ordinary user may still write on the disk of path.
func freeBytes(path string) (int64, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(path, &st); err != nil {
		return 0, err
	}
	return int64(st.Bavail) * int64(st.Bsize), nil
}

// Locks and syncs of network file systems don't keep what this store promises.
var networkTypes = map[int64]string{0x6969: "NFS", 0x517b: "SMB", 0xff534d42: "CIFS", 0xfe534d42: "SMB2", 0x5346414f: "AFS"}

func refuseNetwork(path string) error {
	var st unix.Statfs_t
	if unix.Statfs(path, &st) != nil {
		return nil // opening will say what is wrong
	}
	if name := networkTypes[int64(st.Type)&0xffffffff]; name != "" {
		return fmt.Errorf("it is on a network file system (%s), which can't keep the store's promises", name)
	}
	return nil
}

// ballast is a file that takes room while nobody needs it. When the disk is full it goes, so that results can still be
// written while claims are refused. The next start makes it again.
type ballast struct {
	file string
	log  *slog.Logger
}

func newBallast(path string, o Options) *ballast {
	b := &ballast{filepath.Join(path, "BALLAST"), o.Log}
	if o.Ballast < 0 || o.fs != vfs.Default {
		return b
	}
	if free, err := o.free(path); err != nil || free < o.MinFree+o.Ballast {
		return b // the disk is nearly full as it is
	}
	if err := b.fill(o.Ballast); err != nil {
		o.Log.Warn("no ballast file", "error", err)
		b.release()
	}
	return b
}

func (b *ballast) fill(size int64) error {
	f, err := os.OpenFile(b.file, os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	err = unix.Fallocate(int(f.Fd()), 0, 0, size)
	return errors.Join(err, f.Close())
}

func (b *ballast) release() {
	if err := os.Remove(b.file); err == nil {
		b.log.Error("the disk is full: the ballast was given up; make room", "file", b.file)
	}
}

// pebbleLog turns Pebble's lines into ours. What it does routinely is of no interest above debug level.
type pebbleLog struct {
	log  *slog.Logger
	exit func(code int)
}

func (l pebbleLog) Infof(format string, args ...any) {
	if l.log.Enabled(context.Background(), slog.LevelDebug) {
		l.log.Debug("pebble", "message", fmt.Sprintf(format, args...))
	}
}

func (l pebbleLog) Errorf(format string, args ...any) {
	l.log.Error("pebble", "message", fmt.Sprintf(format, args...))
}

// Fatalf ends the process: Pebble calls it when a commit failed or a file is damaged. No panic, which a handler's recovery
// would catch: to go on after a failed sync would be a guess.
func (l pebbleLog) Fatalf(format string, args ...any) {
	l.log.Error("the data folder failed; the process ends so that nothing is acknowledged that was not kept", "message", fmt.Sprintf(format, args...))
	l.exit(1)
}
