//go:build linux && !race

package sockio

import (
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Read reads once. EAGAIN: nothing is there; 0 bytes without an error: the other end closed.
func Read(fd uintptr, b []byte) (int, error) { return rawSocket(unix.SYS_READ, fd, b) }

// Write writes once. EAGAIN: the socket takes nothing now.
func Write(fd uintptr, b []byte) (int, error) { return rawSocket(unix.SYS_WRITE, fd, b) }

func rawSocket(call, fd uintptr, b []byte) (int, error) {
	for len(b) > 0 {
		n, _, errno := syscall.RawSyscall(call, fd, uintptr(unsafe.Pointer(&b[0])), uintptr(len(b)))
		switch errno {
		case 0:
			return int(n), nil
		case unix.EINTR:
		case unix.EAGAIN:
			return 0, errAgain
		default:
			return 0, errno
		}
	}
	return 0, nil
}

// errAgain is unix.EAGAIN as an error that was made once.
var errAgain error = unix.EAGAIN
