package h1

import (
	"io"
	"net"
	"runtime"
	"testing"
)

// An idle tunnel holds what it needs and not the exchange with its buffers: at most 24 KiB of resident memory each, of which
// the collector may take half for itself. Measured with both ends of both connections in this process, which a gateway has not.
func TestAllocTunnel(t *testing.T) {
	const n = 200
	most := int64(13 << 10)
	if raceDetector {
		most = 20 << 10 // everything is larger there
	}
	cfg := config()
	cfg.Limits.Connections = n + 50
	far := make(chan *net.TCPConn, n+50)
	s := serve(t, cfg, grants(t, far, nil))
	t.Cleanup(func() {
		for len(far) > 0 {
			_ = (<-far).Close()
		}
	})
	buf := make([]byte, 512)
	open := func() net.Conn {
		c, err := net.Dial("tcp", s.addr)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = c.Close() })
		_, _ = io.WriteString(c, asks)
		for end := (terminator)(0); ; {
			got, err := c.Read(buf)
			if err != nil {
				t.Fatal(err)
			}
			if end.find(buf[:got]) >= 0 {
				return c
			}
		}
	}
	for range 20 { // pools, and stacks of workers
		open()
	}
	before := living()
	conns := make([]net.Conn, n)
	for i := range conns {
		conns[i] = open()
	}
	each := (living() - before) / n
	t.Logf("%d bytes each", each)
	if each > most {
		t.Errorf("a tunnel holds %d bytes, wanted at most %d", each, most)
	}
	for i, c := range conns { // all live
		if _, err := c.Write([]byte{byte(i)}); err != nil {
			t.Fatal(err)
		}
	}
	runtime.KeepAlive(conns)
}

// living is what lives on the heap and on stacks.
func living() int64 {
	var m runtime.MemStats
	for range 2 { // pools give up what they hold after two
		runtime.GC()
	}
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc + m.StackInuse)
}
