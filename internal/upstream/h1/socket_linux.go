//go:build linux && !race

package h1

import (
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// The two calls of an exchange go to the kernel without telling the scheduler: the socket never blocks, so nothing is gained
// by lending the processor to another thread meanwhile, and telling costs more than a read that finds nothing.

func readSocket(fd uintptr, b []byte) (int, error) { return rawSocket(unix.SYS_READ, fd, b) }

func writeSocket(fd uintptr, b []byte) (int, error) { return rawSocket(unix.SYS_WRITE, fd, b) }

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
