package main

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// The file systems that statfs names, as far as they matter here.
var (
	inMemory = map[int64]string{unix.TMPFS_MAGIC: "tmpfs", unix.RAMFS_MAGIC: "ramfs"}
	onDisk   = map[int64]string{unix.EXT4_SUPER_MAGIC: "ext4", unix.XFS_SUPER_MAGIC: "xfs", unix.BTRFS_SUPER_MAGIC: "btrfs", unix.OVERLAYFS_SUPER_MAGIC: "overlay"}
)

// folder makes the folder of the run: in memory a sync costs nothing, so that what is durable couldn't be measured.
func folder(parent string) (string, error) {
	if parent != "" {
		if name := inMemory[fileSystem(parent)]; name != "" {
			return "", fmt.Errorf("%s is on %s; -dir must be on a disk", parent, name)
		}
		return os.MkdirTemp(parent, "oncegate-bench-")
	}
	for _, parent := range []string{os.TempDir(), "/var/tmp", "."} {
		if inMemory[fileSystem(parent)] != "" {
			continue
		}
		if dir, err := os.MkdirTemp(parent, "oncegate-bench-"); err == nil {
			return dir, nil
		}
	}
	return "", errors.New("no folder on a disk was found: set -dir")
}

func fileSystem(path string) int64 {
	var st unix.Statfs_t
	if unix.Statfs(path, &st) != nil {
		return 0
	}
	return int64(st.Type)
}

// diskName is the file system of the folder of the run.
func (b *bench) diskName() string {
	kind := fileSystem(b.dir)
	if name := onDisk[kind]; name != "" {
		return name
	}
	return fmt.Sprintf("file system %#x", kind)
}
