package redistest

import (
	"math/rand/v2"
	"net"
	"strconv"
	"testing"
)

// Ports are taken from [firstPort, lastPort): with the cluster bus at port+busOffset they stay below the range (32768 and up on
// Linux) from which the kernel gives ports to outgoing connections, and no bus port is ever another server's port.
const (
	firstPort = 11000
	lastPort  = 21000
	busOffset = 10000
)

func address(port int) string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(port)) }

// reservePort gives a port that is free, as its bus port is, until the test ends. The claim is a UDP socket on the same number: Redis
// speaks TCP only, other test processes see the claim, it survives a killed server, and it dies with this process.
func reservePort(t testing.TB) int {
	t.Helper()
	for range 200 {
		port := firstPort + rand.IntN(lastPort-firstPort)
		claim, err := net.ListenPacket("udp4", address(port))
		if err != nil {
			continue
		}
		if free(port) && free(port+busOffset) {
			t.Cleanup(func() { claim.Close() })
			return port
		}
		claim.Close()
	}
	t.Fatal("redistest: no free port")
	return 0
}

func free(port int) bool {
	l, err := net.Listen("tcp4", address(port))
	if err != nil {
		return false
	}
	return l.Close() == nil
}
