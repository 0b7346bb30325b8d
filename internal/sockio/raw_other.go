//go:build !linux || race

package sockio

import "syscall"

// The race detector learns from these calls, the same as package net's, which goroutine spoke first.

// Read reads once. EAGAIN: nothing is there; 0 bytes without an error: the other end closed.
func Read(fd uintptr, b []byte) (int, error) {
	for {
		n, err := syscall.Read(int(fd), b)
		if err != syscall.EINTR {
			return max(n, 0), err
		}
	}
}

// Write writes once. EAGAIN: the socket takes nothing now.
func Write(fd uintptr, b []byte) (int, error) {
	for {
		n, err := syscall.Write(int(fd), b)
		if err != syscall.EINTR {
			return max(n, 0), err
		}
	}
}
