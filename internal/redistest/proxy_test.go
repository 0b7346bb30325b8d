package redistest

import (
	"bufio"
	"errors"
	"io"
	"net"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"
)

// patience is how long a test waits for what must not come.
const patience = 150 * time.Millisecond

// wire is a client that speaks inline commands, and so shows what passes when.
type wire struct {
	t testing.TB
	net.Conn
	*bufio.Reader
}

func dial(t testing.TB, addr string) wire {
	t.Helper()
	conn, err := net.DialTimeout("tcp", addr, answerBound)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return wire{t, conn, bufio.NewReader(conn)}
}

func (w wire) Read(p []byte) (int, error) { return w.Conn.Read(p) }

func (w wire) send(lines ...string) {
	w.t.Helper()
	if _, err := io.WriteString(w.Conn, strings.Join(lines, "\r\n")+"\r\n"); err != nil {
		w.t.Fatal(err)
	}
}

func (w wire) expect(want string) {
	w.t.Helper()
	_ = w.SetReadDeadline(time.Now().Add(settleBound))
	if got, err := w.ReadString('\n'); err != nil || strings.TrimSpace(got) != want {
		w.t.Fatalf("reply %q, %v, not %q", got, err, want)
	}
}

// silent: neither bytes nor an end.
func (w wire) silent() {
	w.t.Helper()
	_ = w.SetReadDeadline(time.Now().Add(patience))
	if b, err := w.ReadByte(); !errors.Is(err, os.ErrDeadlineExceeded) {
		w.t.Fatalf("got %q, %v", b, err)
	}
}

func (w wire) ended() {
	w.t.Helper()
	_ = w.SetReadDeadline(time.Now().Add(settleBound))
	if b, err := w.ReadByte(); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		w.t.Fatalf("still open: %q, %v", b, err)
	}
}

func disturbed(t *testing.T) (*Server, *Proxy, wire) {
	t.Helper()
	s := Start(t)
	p := NewProxy(t, s.Addr)
	w := dial(t, p.Addr)
	w.send("INCR n")
	w.expect(":1")
	return s, p, w
}

func counter(t *testing.T, s *Server, want string) {
	t.Helper()
	await(t, settleBound, "the counter is "+want, func() string {
		if n, err := s.Do("GET", "n"); err != nil || n != want {
			return "GET gives another"
		}
		return ""
	})
}

func connections(t *testing.T, p *Proxy, want int) {
	t.Helper()
	await(t, settleBound, "the connections are as many", func() string {
		if n := p.Connections(); n != want {
			return strconv.Itoa(n)
		}
		return ""
	})
}

func TestCutClosesAndRefuses(t *testing.T) {
	_, p, w := disturbed(t)
	p.Cut()
	w.ended()
	connections(t, p, 0)
	if conn, err := net.Dial("tcp", p.Addr); err == nil {
		conn.Close()
		t.Fatal("not refused")
	}
	p.Heal()
	w = dial(t, p.Addr)
	w.send("INCR n")
	w.expect(":2")
	connections(t, p, 1)
	if n := p.Accepted(); n != 2 {
		t.Fatalf("%d accepted", n)
	}
}

func TestStallHoldsAndHealForwards(t *testing.T) {
	s, p, w := disturbed(t)
	p.Stall()
	w.send("INCR n")
	w.silent()
	late := dial(t, p.Addr)
	late.send("INCR n")
	late.silent()
	counter(t, s, "1")
	w.Close() // its request is on the way all the same
	p.Heal()
	late.expect(":" + mustBeOneOf(t, late, "2", "3"))
	counter(t, s, "3")
}

// mustBeOneOf peeks at an integer reply.
func mustBeOneOf(t *testing.T, w wire, values ...string) string {
	t.Helper()
	_ = w.SetReadDeadline(time.Now().Add(settleBound))
	head, err := w.Peek(2)
	for _, v := range values {
		if err == nil && string(head[1:]) == v {
			return v
		}
	}
	t.Fatalf("reply %q, %v, none of %v", head, err, values)
	return ""
}

func TestStallHidesTheEndOfTheTarget(t *testing.T) {
	s, p, w := disturbed(t)
	p.Stall()
	s.Kill()
	w.silent()
	p.Heal()
	w.ended()
}

func TestDropRepliesExecutes(t *testing.T) {
	s, p, w := disturbed(t)
	p.DropReplies()
	w.send("INCR n")
	w.silent()
	counter(t, s, "2")
	p.Heal() // the next reply would be read as the lost one
	w.ended()
	w = dial(t, p.Addr)
	w.send("INCR n")
	w.expect(":3")
}

func TestDropRequestsExecutesNothing(t *testing.T) {
	s, p, w := disturbed(t)
	idle := dial(t, p.Addr)
	connections(t, p, 2)
	p.DropRequests()
	w.send("INCR n")
	w.silent()
	counter(t, s, "1")
	p.Heal()
	w.ended()
	idle.send("INCR n") // lost nothing, so it lives on
	idle.expect(":2")
}

func TestALossyConnectionStaysLossyInOtherModes(t *testing.T) {
	s, p, w := disturbed(t)
	p.DropRequests()
	w.send("INCR n")
	w.silent()
	p.DropReplies()
	w.send("INCR n")
	w.silent()
	counter(t, s, "1")
}

func TestDelayShiftsBothWays(t *testing.T) {
	_, p, w := disturbed(t)
	const d = 60 * time.Millisecond
	p.Delay(d)
	begun := time.Now()
	w.send("PING")
	time.Sleep(d / 2)
	w.send("PING")
	w.expect("+PONG")
	first := time.Since(begun)
	w.expect("+PONG")
	if gap := time.Since(begun) - first; first < 2*d || gap > 2*d {
		t.Fatalf("first reply after %v, the next %v later", first, gap)
	}
	p.Heal()
	begun = time.Now()
	w.send("PING")
	w.expect("+PONG")
	if took := time.Since(begun); took >= 2*d {
		t.Fatalf("still delayed: %v", took)
	}
}

func TestBurstsAreRoundTrips(t *testing.T) {
	_, p, w := disturbed(t)
	if n := p.Bursts(); n != 1 {
		t.Fatalf("%d bursts for the first command", n)
	}
	w.send("PING", "PING", "PING") // one pipeline
	for range 3 {
		w.expect("+PONG")
	}
	if n := p.Bursts(); n != 2 {
		t.Fatalf("%d bursts after a pipeline", n)
	}
	for range 3 {
		w.send("PING")
		w.expect("+PONG")
	}
	if n := p.Bursts(); n != 5 {
		t.Fatalf("%d bursts after three more", n)
	}
	_, _ = io.WriteString(w.Conn, "PI") // one command in two packets
	await(t, settleBound, "the first half arrives", func() string {
		if p.Bursts() < 6 {
			return "not yet"
		}
		return ""
	})
	w.send("NG")
	w.expect("+PONG")
	if n := p.Bursts(); n != 6 {
		t.Fatalf("%d bursts after a command in two packets", n)
	}
}

func TestProxyOfNothingCloses(t *testing.T) {
	p := NewProxy(t, address(reservePort(t)))
	dial(t, p.Addr).ended()
	connections(t, p, 0)
}
