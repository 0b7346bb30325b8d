package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/valyala/fasthttp"
)

const (
	connections = 64
	bigBody     = 50 << 20
)

// load sends n copies of a request over 64 kept connections and wants status 200 each time.
func load(address string, request []byte, n int) error {
	var left atomic.Int64
	left.Store(int64(n))
	errs := make(chan error, connections)
	var group sync.WaitGroup
	for range connections {
		group.Go(func() {
			if err := loadOne(address, request, &left); err != nil {
				errs <- err
			}
		})
	}
	group.Wait()
	select {
	case err := <-errs:
		return err
	default:
		return nil
	}
}

func loadOne(address string, request []byte, left *atomic.Int64) error {
	conn, err := net.DialTimeout("tcp", address, 5*time.Second)
	if err != nil {
		return err
	}
	defer conn.Close()
	reader := bufio.NewReader(conn)
	var answer fasthttp.Response
	for left.Add(-1) >= 0 {
		if err := conn.SetDeadline(time.Now().Add(30 * time.Second)); err != nil {
			return err
		}
		if _, err := conn.Write(request); err != nil {
			return err
		}
		if err := answer.Read(reader); err != nil {
			return err
		}
		if answer.StatusCode() != 200 {
			return fmt.Errorf("status %d: %.200s", answer.StatusCode(), answer.Body())
		}
	}
	return nil
}

// big moves 50 MiB four times at once, down or up.
func big(address string, up bool) error {
	errs := make(chan error, 4)
	for range 4 {
		go func() { errs <- bigOne(address, up) }()
	}
	var first error
	for range 4 {
		if err := <-errs; err != nil && first == nil {
			first = err
		}
	}
	return first
}

func bigOne(address string, up bool) error {
	conn, err := net.DialTimeout("tcp", address, 5*time.Second)
	if err != nil {
		return err
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(2 * time.Minute)); err != nil {
		return err
	}
	if up {
		fmt.Fprintf(conn, "POST /big HTTP/1.1\r\nHost: bench.test\r\nContent-Length: %d\r\n\r\n", bigBody)
		if _, err := io.Copy(conn, io.LimitReader(&zeros{left: bigBody}, bigBody)); err != nil {
			return err
		}
		return expect(conn, strconv.Itoa(bigBody))
	}
	if _, err := io.WriteString(conn, "GET /big HTTP/1.1\r\nHost: bench.test\r\nConnection: close\r\n\r\n"); err != nil {
		return err
	}
	n, err := discard(conn)
	if err == nil && n < bigBody {
		err = fmt.Errorf("only %d bytes came", n)
	}
	return err
}

func expect(conn net.Conn, body string) error {
	var answer fasthttp.Response
	if err := answer.Read(bufio.NewReader(conn)); err != nil {
		return err
	}
	if string(answer.Body()) != body {
		return fmt.Errorf("status %d, body %.80q instead of %s", answer.StatusCode(), answer.Body(), body)
	}
	return nil
}

// zeros is a body of zero bytes.
type zeros struct{ left int64 }

func (z *zeros) Read(p []byte) (int, error) {
	if z.left == 0 {
		return 0, io.EOF
	}
	n := min(int64(len(p)), z.left)
	clear(p[:n])
	z.left -= n
	return int(n), nil
}

func discard(r io.Reader) (int64, error) {
	buf := make([]byte, 32<<10)
	return io.CopyBuffer(struct{ io.Writer }{io.Discard}, struct{ io.Reader }{r}, buf)
}

func itoa(n int64) string { return strconv.FormatInt(n, 10) }

func timeout(d time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), d)
	time.AfterFunc(d, cancel)
	return ctx
}
