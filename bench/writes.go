package main

import (
	"bufio"
	"fmt"
	"net"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/valyala/fasthttp"
)

// The paths that the origin knows.
const (
	keyedPath = "/w/keyed"
	plainPath = "/w/plain"
	stormPath = "/storm"
)

// appendWrite appends a POST of 1 KiB with a key.
func appendWrite(b []byte, path string, key int64) []byte {
	b = append(b, "POST "...)
	b = append(b, path...)
	b = append(b, " HTTP/1.1\r\nHost: bench.test\r\nUser-Agent: bench/1\r\nAccept: application/json\r\nX-Client: bench\r\nIdempotency-Key: bench-"...)
	b = strconv.AppendInt(b, key, 10)
	b = append(b, "\r\nContent-Type: application/json\r\nContent-Length: 1024\r\n\r\n"...)
	return append(b, kilobyte...)
}

// writeLoad is n writes over kept connections, with the keys first, first+1 and so on.
type writeLoad struct {
	address, path string
	connections   int
	first         int64
	n             int
	said          string // the Idempotency-Status that every answer must carry
}

// fresh is a load with keys that nobody used.
func (b *bench) fresh(address, path, said string, connections, n int) writeLoad {
	return writeLoad{address, path, connections, b.keys.Add(int64(n)) - int64(n), n, said}
}

// run sends the load and wants 200 each time.
func (l writeLoad) run() (pace, error) {
	var next atomic.Int64
	return paced(l.connections, l.n, func() (func() error, func(), error) {
		conn, err := net.DialTimeout("tcp", l.address, 5*time.Second)
		if err != nil {
			return nil, nil, err
		}
		reader, request, answer := bufio.NewReaderSize(conn, 8<<10), make([]byte, 0, 2<<10), &fasthttp.Response{}
		return func() error {
			request = appendWrite(request[:0], l.path, l.first+next.Add(1)-1)
			if err := exchange(conn, reader, request, answer); err != nil {
				return err
			}
			if said := answer.Header.Peek("Idempotency-Status"); answer.StatusCode() != 200 || string(said) != l.said {
				return fmt.Errorf("status %d, Idempotency-Status %q: %.200s", answer.StatusCode(), said, answer.Body())
			}
			return nil
		}, func() { conn.Close() }, nil
	})
}

func exchange(conn net.Conn, reader *bufio.Reader, request []byte, answer *fasthttp.Response) error {
	if err := conn.SetDeadline(time.Now().Add(30 * time.Second)); err != nil {
		return err
	}
	if _, err := conn.Write(request); err != nil {
		return err
	}
	return answer.Read(reader)
}

// pace is how long a load took, and each of its operations.
type pace struct {
	took time.Duration
	each []time.Duration
}

func (p pace) perSecond() float64 { return float64(len(p.each)) / p.took.Seconds() }

// paced has workers do n operations in all, one after the other each. prepare is called by each worker before the clock starts.
func paced(workers, n int, prepare func() (do func() error, end func(), err error)) (pace, error) {
	var left atomic.Int64
	left.Store(int64(n))
	begin, errs := make(chan struct{}), make(chan error, workers)
	each := make([][]time.Duration, workers)
	var ready, done sync.WaitGroup
	ready.Add(workers)
	for i := range workers {
		done.Go(func() {
			do, end, err := prepare()
			ready.Done()
			<-begin
			if end != nil {
				defer end()
			}
			for err == nil && left.Add(-1) >= 0 {
				at := time.Now()
				err = do()
				each[i] = append(each[i], time.Since(at))
			}
			errs <- err
		})
	}
	ready.Wait()
	at := time.Now()
	close(begin)
	done.Wait()
	p := pace{took: time.Since(at)}
	for i := range workers {
		if err := <-errs; err != nil {
			return p, err
		}
		p.each = append(p.each, each[i]...)
	}
	return p, nil
}
