//go:build !linux || race

package h1

import "golang.org/x/sys/unix"

// The race detector learns from these calls which goroutine spoke first.

func readSocket(fd uintptr, b []byte) (int, error) {
	for {
		n, err := unix.Read(int(fd), b)
		if err != unix.EINTR {
			return max(n, 0), err
		}
	}
}

func writeSocket(fd uintptr, b []byte) (int, error) {
	for {
		n, err := unix.Write(int(fd), b)
		if err != unix.EINTR {
			return max(n, 0), err
		}
	}
}
