package main

import (
	"bufio"
	"crypto/sha1" //nolint:gosec // the handshake of RFC 6455 is made of it
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	websockets = 10000
	spareFiles = 60 // descriptors of the gateway besides those of its tunnels
	reloads    = 100
)

// echo is an origin that grants every WebSocket and sends back what comes.
func echo(listen string) error {
	ln, err := net.Listen("tcp", listen)
	if err != nil {
		return err
	}
	for {
		c, err := ln.Accept()
		if err != nil {
			return err
		}
		go func() {
			defer c.Close()
			in := bufio.NewReaderSize(c, 1<<10)
			r, err := http.ReadRequest(in)
			if err != nil {
				return
			}
			sum := sha1.Sum([]byte(r.Header.Get("Sec-WebSocket-Key") + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11")) //nolint:gosec // as above
			fmt.Fprintf(c, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: %s\r\n\r\n",
				base64.StdEncoding.EncodeToString(sum[:]))
			_, _ = io.CopyBuffer(struct{ io.Writer }{c}, struct{ io.Reader }{in}, make([]byte, 128))
		}()
	}
}

// sockets holds idle WebSockets, reloads the configuration a hundred times, says a word on each, and prints what each takes of
// the gateway's resident memory. Each needs two descriptors there: where fewer are allowed, fewer are held.
func (b *bench) sockets() error {
	n := websockets
	var files unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &files); err != nil {
		return err
	}
	if most := (int(files.Max) - spareFiles) / 2; most < n {
		n = most
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	at := freeAddress()
	origin, err := spawn(at, os.DevNull, self, "echo", at)
	if err != nil {
		return err
	}
	defer origin.stop()
	fmt.Printf("websockets: %d idle ones (%d descriptors are allowed), resident memory of the gateway for each\n", n, files.Max)
	paths := append([]string{b.binary}, b.against...)
	for _, path := range paths {
		if err := b.socketsBy(path, at, n); err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
	}
	fmt.Println()
	return nil
}

func (b *bench) socketsBy(binary, origin string, n int) error {
	document := func(i int) string {
		return fmt.Sprintf(`upstreams: { up: { targets: ["http://%s"], connections: { max: 20000 } } }
routes: [ { id: all, match: { path: /** }, auth: none, to: up, timeout: %ds, websocket: { idle: 1h } } ]
`, origin, 10+i)
	}
	address, watch := freeAddress(), freeAddress()
	write := func(i int) (string, error) { return b.documentAt(watch, document(i), address) }
	file, err := write(0)
	if err != nil {
		return err
	}
	p, err := spawn(address, os.DevNull, binary, "run", "-config", file)
	if err != nil {
		return err
	}
	defer p.stop()
	warm, err := crowd(address, 16)
	defer warm.close()
	if err != nil {
		return err
	}
	settle()
	before := p.memory("VmRSS")
	all, err := crowd(address, n)
	defer all.close()
	if err != nil {
		return err
	}
	settle()
	each := func() float64 { return float64(p.memory("VmRSS")-before) / float64(n) }
	fmt.Printf("  open %.1f KiB", each())
	for i := range reloads {
		if _, err := write(i + 1); err != nil {
			return err
		}
		if err := p.cmd.Process.Signal(syscall.SIGHUP); err != nil {
			return err
		}
		if err := reloaded(watch, i+1); err != nil {
			return err
		}
	}
	fmt.Printf(", after %d reloads %.1f KiB", reloads, each())
	if err := all.talk(); err != nil {
		return err
	}
	settle()
	fmt.Printf(", after a word on each %.1f KiB; all kept\n", each())
	return nil
}

func settle() { time.Sleep(2 * time.Second) }

// reloaded waits until so many reloads have been made.
func reloaded(watch string, times int) error {
	for range 500 {
		answer, err := http.Get("http://" + watch + "/metrics")
		if err != nil {
			return err
		}
		text, err := io.ReadAll(answer.Body)
		_ = answer.Body.Close()
		if err != nil {
			return err
		}
		_, rest, _ := strings.Cut(string(text), "\ngateway_config_reloads_total{result=\"success\"} ")
		line, _, _ := strings.Cut(rest, "\n")
		if n, err := strconv.Atoi(line); err != nil || n >= times {
			return err
		}
		time.Sleep(5 * time.Millisecond)
	}
	return fmt.Errorf("reload %d did not come about", times)
}

// clients are open WebSockets.
type clients []net.Conn

func (c clients) close() {
	for _, nc := range c {
		if nc != nil {
			_ = nc.Close()
		}
	}
}

func crowd(address string, n int) (clients, error) {
	all, next := make(clients, n), atomic.Int64{}
	errs := make([]error, 16)
	var group sync.WaitGroup
	for w := range errs {
		group.Go(func() {
			for i := next.Add(1) - 1; int(i) < n && errs[w] == nil; i = next.Add(1) - 1 {
				all[i], errs[w] = upgraded(address)
			}
		})
	}
	group.Wait()
	return all, errors.Join(errs...)
}

func upgraded(address string) (net.Conn, error) {
	c, err := net.DialTimeout("tcp", address, 5*time.Second)
	if err != nil {
		return nil, err
	}
	_ = c.SetDeadline(time.Now().Add(10 * time.Second))
	key := base64.StdEncoding.EncodeToString(noise(16))
	fmt.Fprintf(c, "GET /ws HTTP/1.1\r\nHost: bench.test\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: %s\r\n"+
		"User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0.0.0 Safari/537.36\r\nOrigin: http://bench.test\r\n\r\n", key)
	in := bufio.NewReaderSize(c, 512)
	line, err := in.ReadString('\n')
	if err == nil && !strings.HasPrefix(line, "HTTP/1.1 101 ") {
		err = fmt.Errorf("%q", line)
	}
	for err == nil && line != "\r\n" {
		line, err = in.ReadString('\n')
	}
	return c, err
}

// spoken is a masked text frame.
const spoken = "\x81\x85\x01\x02\x03\x04igomn"

// talk wants every connection to bring a word back.
func (c clients) talk() error {
	b := make([]byte, len(spoken))
	for i, nc := range c {
		_ = nc.SetDeadline(time.Now().Add(10 * time.Second))
		if _, err := io.WriteString(nc, spoken); err != nil {
			return err
		}
		if _, err := io.ReadFull(nc, b); err != nil || string(b) != spoken {
			return fmt.Errorf("WebSocket %d brought %q, %w", i, b, err)
		}
	}
	return nil
}
