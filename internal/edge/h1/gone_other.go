//go:build !linux

package h1

import "net"

// liveness can't be told without reading here: nobody is ever seen to be gone.
type liveness struct{}

func (*liveness) init(net.Conn)  {}
func (*liveness) gone() bool     { return false }
func (*liveness) readable() bool { return false }
