//go:build unix && !linux

package redistest

import "syscall"

// attributes can't ask for a death signal here: a test that panics leaves its servers.
func attributes() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }

func stopped(int) bool { return true }
