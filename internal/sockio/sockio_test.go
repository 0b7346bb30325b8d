package sockio

import (
	"bytes"
	"errors"
	"io"
	"net"
	"os"
	"testing"
	"time"
)

// pair gives both ends of a TCP connection on loopback: ours taken over, and the other.
func pair(t *testing.T) (*Conn, *net.TCPConn, *net.TCPConn) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = ln.Close() }()
	near, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	far, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = near.Close(); _ = far.Close() })
	c := &Conn{}
	if c.Ready() || !c.Of(near) || !c.Ready() {
		t.Fatal("the socket was not taken over")
	}
	return c, near.(*net.TCPConn), far.(*net.TCPConn)
}

func TestReadWaitsForBytes(t *testing.T) {
	c, _, far := pair(t)
	read := make(chan string)
	go func() {
		var b [8]byte
		n, err := c.Read(b[:])
		read <- string(b[:n]) + errorText(err)
	}()
	if _, err := far.Write([]byte("word")); err != nil {
		t.Fatal(err)
	}
	if got := <-read; got != "word" {
		t.Fatalf("read %q", got)
	}
}

func TestReadEnds(t *testing.T) {
	var b [8]byte
	t.Run("the other end closed", func(t *testing.T) {
		c, _, far := pair(t)
		_ = far.CloseWrite()
		if n, err := c.Read(b[:]); n != 0 || err != io.EOF {
			t.Fatalf("%d, %v", n, err)
		}
	})
	t.Run("the other end reset", func(t *testing.T) {
		c, _, far := pair(t)
		_ = far.SetLinger(0)
		_ = far.Close()
		if n, err := c.Read(b[:]); n != 0 || err == nil || err == io.EOF {
			t.Fatalf("%d, %v", n, err)
		}
	})
	t.Run("the deadline passes, and a later one lets reads go on", func(t *testing.T) {
		c, near, far := pair(t)
		_ = near.SetReadDeadline(time.Now().Add(time.Millisecond))
		if n, err := c.Read(b[:]); n != 0 || !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Fatalf("%d, %v", n, err)
		}
		_ = near.SetReadDeadline(time.Time{})
		_, _ = far.Write([]byte("late"))
		if n, err := c.Read(b[:]); string(b[:n]) != "late" || err != nil {
			t.Fatalf("%q, %v", b[:n], err)
		}
	})
	t.Run("somebody closes the socket", func(t *testing.T) {
		c, near, _ := pair(t)
		done := make(chan error)
		go func() { _, err := c.Read(b[:]); done <- err }()
		_ = near.Close()
		if err := <-done; !errors.Is(err, net.ErrClosed) {
			t.Fatal(err)
		}
		if _, err := c.Write([]byte("x")); !errors.Is(err, net.ErrClosed) {
			t.Fatal(err)
		}
	})
	t.Run("no room", func(t *testing.T) {
		c, _, _ := pair(t)
		if n, err := c.Read(nil); n != 0 || err != nil {
			t.Fatalf("%d, %v", n, err)
		}
	})
}

// More than both sockets hold goes over in pieces, in order and without a gap.
func TestWriteWaitsForRoom(t *testing.T) {
	c, _, far := pair(t)
	want := make([]byte, 8<<20)
	for i := range want {
		want[i] = byte(i ^ i>>8 ^ i>>16)
	}
	got := make(chan []byte)
	go func() {
		all := make([]byte, len(want))
		n, _ := io.ReadFull(far, all)
		got <- all[:n]
	}()
	if n, err := c.Write(want); n != len(want) || err != nil {
		t.Fatalf("%d, %v", n, err)
	}
	if all := <-got; !bytes.Equal(all, want) {
		t.Fatalf("%d bytes came over, or they differ", len(all))
	}
}

func TestWriteEnds(t *testing.T) {
	big := make([]byte, 64<<20)
	t.Run("the deadline passes", func(t *testing.T) {
		c, near, _ := pair(t)
		_ = near.SetWriteDeadline(time.Now().Add(20 * time.Millisecond))
		n, err := c.Write(big)
		if !errors.Is(err, os.ErrDeadlineExceeded) || n == 0 || n == len(big) {
			t.Fatalf("%d, %v: it has to say how much left", n, err)
		}
	})
	t.Run("the other end reset", func(t *testing.T) {
		c, _, far := pair(t)
		done := make(chan error)
		go func() { _, err := c.Write(big); done <- err }()
		_ = far.SetLinger(0)
		_ = far.Close()
		if err := <-done; err == nil {
			t.Fatal("no error")
		}
	})
	t.Run("nothing to write", func(t *testing.T) {
		c, _, _ := pair(t)
		if n, err := c.Write(nil); n != 0 || err != nil {
			t.Fatalf("%d, %v", n, err)
		}
	})
}

// Reading and writing at once don't disturb each other.
func TestBothWays(t *testing.T) {
	c, _, far := pair(t)
	go func() { _, _ = io.Copy(far, far) }()
	const rounds, size = 2000, 100
	go func() {
		for i := range rounds {
			if _, err := c.Write(bytes.Repeat([]byte{byte(i)}, size)); err != nil {
				return
			}
		}
	}()
	var b [size]byte
	for i := range rounds {
		if _, err := io.ReadFull(c, b[:]); err != nil {
			t.Fatal(err)
		}
		if want := bytes.Repeat([]byte{byte(i)}, size); !bytes.Equal(b[:], want) {
			t.Fatalf("round %d: %v", i, b)
		}
	}
}

func TestNoSocket(t *testing.T) {
	near, far := net.Pipe()
	defer func() { _ = near.Close(); _ = far.Close() }()
	var c Conn
	if c.Of(near) || c.Ready() {
		t.Fatal("a pipe is no socket")
	}
}

func TestAlloc(t *testing.T) {
	c, _, far := pair(t)
	go func() { _, _ = io.Copy(far, far) }()
	word, back := []byte("word"), make([]byte, 8)
	got := testing.AllocsPerRun(200, func() {
		if _, err := c.Write(word); err != nil {
			t.Fatal(err)
		}
		if _, err := c.Read(back); err != nil {
			t.Fatal(err)
		}
	})
	if got != 0 {
		t.Fatalf("%.1f allocations for a write and a read", got)
	}
}

func errorText(err error) string {
	if err == nil {
		return ""
	}
	return ", " + err.Error()
}
