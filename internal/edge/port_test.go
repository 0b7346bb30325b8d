package edge

import (
	"bufio"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/oncegate/oncegate/internal/units"
)

// opened is a port whose connections tell what they were taken for.
type opened struct {
	*Port
	t     *testing.T
	taken chan string
}

func open(t *testing.T, cfg Config) *opened {
	t.Helper()
	cfg.Address = "127.0.0.1:0"
	if cfg.Limits.Connections == 0 {
		cfg.Limits.Connections = 100
	}
	if cfg.Limits.ReadTimeout == 0 {
		cfg.Limits.ReadTimeout = units.Duration(5 * time.Second)
	}
	p, err := Open(cfg, nil)
	if err != nil {
		t.Fatal(err)
	}
	o := &opened{p, t, make(chan string, 100)}
	served := make(chan error, 1)
	go func() { served <- p.Serve() }()
	for word, ln := range map[string]net.Listener{"h1": p.H1(), "h2": p.H2()} {
		go func() {
			for {
				c, err := ln.Accept()
				if err != nil {
					return
				}
				go o.serve(word, c)
			}
		}()
	}
	t.Cleanup(func() {
		p.Stop()
		if err := <-served; err != nil {
			t.Errorf("Serve: %v", err)
		}
		_ = p.H1().Close()
		_ = p.H2().Close()
		if !p.h1.give(nil) {
			return
		}
		t.Error("a closed listener took a connection")
	})
	return o
}

// serve answers each line with the protocol and the line.
func (o *opened) serve(word string, c net.Conn) {
	defer c.Close()
	o.taken <- word
	in := bufio.NewReader(c)
	for {
		line, err := in.ReadString('\n')
		if err != nil {
			return
		}
		_, _ = io.WriteString(c, word+" "+line)
	}
}

func (o *opened) dial() net.Conn {
	o.t.Helper()
	c, err := net.Dial("tcp", o.Addr().String())
	if err != nil {
		o.t.Fatal(err)
	}
	o.t.Cleanup(func() { _ = c.Close() })
	_ = c.SetDeadline(time.Now().Add(5 * time.Second))
	return c
}

func (o *opened) hears(c net.Conn, want string) {
	o.t.Helper()
	line, err := bufio.NewReader(c).ReadString('\n')
	if line != want {
		o.t.Errorf("%q, %v; wanted %q", line, err, want)
	}
}

// The bytes that were looked at are not lost, in however many pieces they come.
func TestPortSortsClearText(t *testing.T) {
	o := open(t, Config{})
	for first, want := range map[string]string{
		"GET / HTTP/1.1\r\n": "h1 GET / HTTP/1.1\r\n", preface: "h2 PRI * HTTP/2.0\r\n", "PRI * HTTP/1.1\r\n": "h1 PRI * HTTP/1.1\r\n",
		"PRINT / HTTP/1.1\r\n": "h1 PRINT / HTTP/1.1\r\n", "P\r\n": "h1 P\r\n", preface + "more\r\n": "h2 PRI * HTTP/2.0\r\n",
	} {
		whole := o.dial()
		_, _ = io.WriteString(whole, first)
		o.hears(whole, want)
		pieces := o.dial()
		for _, b := range []byte(first) {
			if _, err := pieces.Write([]byte{b}); err != nil {
				t.Fatal(err)
			}
		}
		o.hears(pieces, want)
	}
}

// A client that says nothing keeps nobody waiting; when its time is over it goes where it can be told.
func TestPortSlowClients(t *testing.T) {
	o := open(t, Config{Limits: LimitsConfig{ReadTimeout: units.Duration(200 * time.Millisecond)}})
	o.dial()
	half := o.dial()
	_, _ = io.WriteString(half, preface[:10])
	quick := o.dial()
	_, _ = io.WriteString(quick, "GET\n")
	o.hears(quick, "h1 GET\n")
	for range 3 {
		if word := <-o.taken; word != "h1" {
			t.Errorf("taken for %s", word)
		}
	}
	left := o.dial()
	_ = left.Close()
	o.seats.mu.Lock()
	defer o.seats.mu.Unlock()
	if o.seats.taken < 3 {
		t.Errorf("%d seats", o.seats.taken)
	}
}

func TestPortALPN(t *testing.T) {
	o := open(t, Config{Limits: LimitsConfig{ReadTimeout: units.Duration(300 * time.Millisecond)}, TLS: &TLSConfig{Certificates: []CertificateConfig{certificate(t)}}})
	silent := o.dial()
	for _, c := range []struct {
		offers []string
		want   string
	}{{[]string{"h2", "http/1.1"}, "h2"}, {[]string{"http/1.1", "h2"}, "h2"}, {[]string{"http/1.1"}, "h1"}, {nil, "h1"}, {[]string{"h2"}, "h2"}} {
		client := tls.Client(o.dial(), &tls.Config{InsecureSkipVerify: true, NextProtos: c.offers})
		if _, err := io.WriteString(client, "x\n"); err != nil {
			t.Fatal(err)
		}
		o.hears(client, c.want+" x\n")
	}
	strange := tls.Client(o.dial(), &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"spdy/3"}})
	if err := strange.Handshake(); err == nil || !strings.Contains(err.Error(), "no application protocol") {
		t.Errorf("%v", err)
	}
	if _, err := silent.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
		t.Errorf("a client without a handshake: %v", err)
	}
}

// Seats are counted over both protocols and come back however a connection ends.
func TestPortSeats(t *testing.T) {
	o := open(t, Config{Limits: LimitsConfig{Connections: 3, ConnectionsPerIP: 2}})
	one, two := o.dial(), o.dial()
	_, _ = io.WriteString(one, "a\n")
	o.hears(one, "h1 a\n")
	_, _ = io.WriteString(two, preface)
	o.hears(two, "h2 PRI * HTTP/2.0\r\n")
	if _, err := o.dial().Read(make([]byte, 1)); !errors.Is(err, io.EOF) && err == nil {
		t.Errorf("a third connection of an address: %v", err)
	}
	_ = two.Close()
	for by := time.Now().Add(5 * time.Second); ; {
		o.seats.mu.Lock()
		taken := o.seats.taken
		o.seats.mu.Unlock()
		if taken == 1 {
			break
		}
		if time.Now().After(by) {
			t.Fatalf("%d seats are taken", taken)
		}
		time.Sleep(time.Millisecond)
	}
	three := o.dial()
	_, _ = io.WriteString(three, "b\n")
	o.hears(three, "h1 b\n")
}

// Stop doesn't lose a client whose request is on its way.
func TestPortStop(t *testing.T) {
	p, err := Open(Config{Address: "127.0.0.1:0", Limits: LimitsConfig{Connections: 9, ReadTimeout: units.Duration(time.Minute)}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- p.Serve() }()
	c, err := net.Dial("tcp", p.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for sorting := 0; sorting == 0; {
		p.mu.Lock()
		sorting = len(p.sorting)
		p.mu.Unlock()
	}
	got := make(chan net.Conn, 1)
	go func() { c, _ := p.H1().Accept(); got <- c }()
	p.Stop()
	s, ok := (<-got).(*Socket)
	if err := <-served; err != nil || !ok {
		t.Fatalf("%v, %T", err, s)
	}
	_ = s.Close()
	_ = s.Close()
	if p.seats.taken != 0 {
		t.Errorf("%d seats after two closes", p.seats.taken)
	}
	if _, err := net.Dial("tcp", p.Addr().String()); err == nil {
		t.Error("still accepting")
	}
}

func TestOpenNamesTheFile(t *testing.T) {
	if _, err := Open(Config{Address: "127.0.0.1:0", TLS: &TLSConfig{Certificates: []CertificateConfig{{"/none", "/none"}}}}, nil); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("%v", err)
	}
	if _, err := Open(Config{Address: "nonsense"}, nil); err == nil {
		t.Error("nonsense was opened")
	}
}
