package main

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"
)

// idleKinds are the ways to keep a connection open.
var idleKinds = []struct {
	name         string
	tls, twoHTTP bool
}{{"HTTP/1.1", false, false}, {"HTTP/1.1 over TLS", true, false}, {"HTTP/2 on clear text", false, true}, {"HTTP/2 over TLS", true, true}}

// idle opens connections that were asked once and then rest, and one client that is slow in every phase. It prints what a
// connection takes in resident memory, and how long other clients wait from their connect to the first byte.
func (b *bench) idle() error {
	fmt.Printf("idle: %d idle connections and a client slow in every phase\n", b.connections)
	for _, kind := range idleKinds {
		if err := b.idleOne(kind.name, kind.tls, kind.twoHTTP); err != nil {
			return fmt.Errorf("%s: %w", kind.name, err)
		}
	}
	fmt.Println()
	return nil
}

func (b *bench) idleOne(name string, secure, twoHTTP bool) error {
	p, err := b.idleGateway(secure)
	if err != nil {
		return err
	}
	defer p.stop()
	for range 200 { // buffers and pools are there before
		c, err := rest(p.address, secure, twoHTTP)
		if err != nil {
			return err
		}
		c.Close()
	}
	alone, err := waits(p.address, secure)
	if err != nil {
		return err
	}
	before := p.memory("VmRSS")
	conns, err := b.rests(p.address, secure, twoHTTP)
	defer func() {
		for _, c := range conns {
			c.Close()
		}
	}()
	if err != nil {
		return err
	}
	each := float64(p.memory("VmRSS")-before) / float64(b.connections)
	stop := slow(p.address, secure)
	defer stop()
	took, err := waits(p.address, secure)
	if err != nil {
		return err
	}
	at := func(d []time.Duration, percent int) time.Duration {
		return d[len(d)*percent/100].Round(time.Microsecond)
	}
	fmt.Printf("  %-22s %5.1f KiB each; first byte of others: %v median, %v for 99 of 100, %v at most (alone %v, %v, %v)\n", name, each,
		at(took, 50), at(took, 99), took[len(took)-1].Round(time.Microsecond), at(alone, 50), at(alone, 99), alone[len(alone)-1].Round(time.Microsecond))
	return nil
}

// idleGateway is a gateway whose clients may take their time.
func (b *bench) idleGateway(secure bool) (*process, error) {
	address, inTLS := freeAddress(), ""
	if secure {
		pem, err := b.certificate()
		if err != nil {
			return nil, err
		}
		inTLS = fmt.Sprintf("tls: { certificates: [{ cert: %[1]q, key: %[1]q }] }, ", pem)
	}
	text := fmt.Sprintf("version: 1\nlisten: { address: %q, %slimits: { idle_timeout: 30m, read_timeout: 30m, write_timeout: 30m, connections: %d }, drain: { notice: 0s, timeout: 1s } }\nadmin: { address: %q }\nstate: { store: memory }\n%s",
		address, inTLS, b.connections+1000, freeAddress(), documentPlain(b))
	file := filepath.Join(b.dir, "idle-"+strings.ReplaceAll(address, ":", "-")+".yaml")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		return nil, err
	}
	return spawn(address, file+".log", b.binary, "run", "-config", file)
}

// connect makes a connection on which a handshake, if any, chose the protocol.
func connect(address string, secure, twoHTTP bool) (net.Conn, error) {
	c, err := net.Dial("tcp", address)
	if err != nil || !secure {
		return c, err
	}
	protocol := "http/1.1"
	if twoHTTP {
		protocol = "h2"
	}
	t := tls.Client(c, &tls.Config{InsecureSkipVerify: true, NextProtos: []string{protocol}})
	if err := t.Handshake(); err != nil {
		c.Close()
		return nil, err
	}
	return t, nil
}

// rest gives a connection on which one request was answered.
func rest(address string, secure, twoHTTP bool) (net.Conn, error) {
	c, err := connect(address, secure, twoHTTP)
	if err != nil {
		return nil, err
	}
	said := get("none")
	if twoHTTP {
		said = asStream()
	}
	if _, err := io.WriteString(c, said); err != nil {
		return c, err
	}
	buf := make([]byte, 4<<10)
	for total := 0; total < 1024; { // the origin's answer is longer than that
		n, err := c.Read(buf)
		if err != nil {
			return c, err
		}
		total += n
	}
	return c, nil
}

// rests opens all connections, 64 at a time.
func (b *bench) rests(address string, secure, twoHTTP bool) (conns []net.Conn, err error) {
	var mu sync.Mutex
	var group sync.WaitGroup
	for worker := range 64 {
		group.Go(func() {
			for i := worker; i < b.connections; i += 64 {
				c, failed := rest(address, secure, twoHTTP)
				mu.Lock()
				if c != nil {
					conns = append(conns, c)
				}
				err = errors.Join(err, failed)
				mu.Unlock()
				if failed != nil {
					return
				}
			}
		})
	}
	group.Wait()
	return conns, err
}

// waits is how long new clients wait for their first byte, from the connect on, in order.
func waits(address string, secure bool) (took []time.Duration, err error) {
	for range 1000 {
		begun := time.Now()
		c, err := connect(address, secure, false)
		if err != nil {
			return nil, err
		}
		_, _ = io.WriteString(c, get("none"))
		if _, err := c.Read(make([]byte, 1)); err != nil {
			return nil, err
		}
		took = append(took, time.Since(begun))
		c.Close()
	}
	slices.Sort(took)
	return took, nil
}
