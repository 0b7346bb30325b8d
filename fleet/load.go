package fleet

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"net"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/valyala/fasthttp"
)

// Load sends arrivals over kept connections when they are due, whether or not earlier ones were answered.
type Load struct {
	Addresses []string // of the gateways
	Paths     []string // of the routes
	Tag       string   // makes the clients of this run others than those of any other
	Workers   int      // connections to each gateway; as many requests may be under way
	Patience  time.Duration
	Begun     time.Time // times count from here
}

// Run returns when everything was sent and answered, or ctx ended: then with what there is.
func (l Load) Run(ctx context.Context, arrivals []Arrival) History {
	if l.Patience == 0 {
		l.Patience = 10 * time.Second
	}
	if l.Begun.IsZero() {
		l.Begun = time.Now()
	}
	queues := make([][]Arrival, len(l.Addresses))
	for _, a := range arrivals {
		queues[a.Gateway] = append(queues[a.Gateway], a)
	}
	var mu sync.Mutex
	var all History
	var group sync.WaitGroup
	for g, queue := range queues {
		next := new(atomic.Int64)
		for range min(max(1, l.Workers), len(queue)) {
			group.Go(func() {
				w := worker{load: &l, address: l.Addresses[g], requests: map[[2]int][]byte{}}
				got := w.run(ctx, queue, next)
				mu.Lock()
				defer mu.Unlock()
				all = append(all, got...)
			})
		}
	}
	group.Wait()
	return all.bySent()
}

// worker is one connection.
type worker struct {
	load     *Load
	address  string
	conn     net.Conn
	reader   *bufio.Reader
	answer   fasthttp.Response
	requests map[[2]int][]byte
}

func (w *worker) run(ctx context.Context, queue []Arrival, next *atomic.Int64) (out History) {
	defer w.drop()
	for {
		i := int(next.Add(1)) - 1
		if i >= len(queue) || !until(ctx, w.load.Begun.Add(queue[i].Due)) {
			return out
		}
		a := queue[i]
		r := Request{Due: a.Due, Gateway: a.Gateway, Client: a.Client, Route: a.Route, Left: -1, Sent: time.Since(w.load.Begun)}
		if w.exchange(w.request(a)) == nil {
			r.Status = w.answer.StatusCode()
		}
		r.Done = time.Since(w.load.Begun)
		if r.Status != 0 {
			w.read(&r)
		}
		out = append(out, r)
	}
}

func until(ctx context.Context, at time.Time) bool {
	for d := time.Until(at); d > 0; d = time.Until(at) {
		time.Sleep(min(d, 100*time.Millisecond))
		if ctx.Err() != nil {
			return false
		}
	}
	return ctx.Err() == nil
}

func (w *worker) request(a Arrival) []byte {
	key := [2]int{a.Route, a.Client}
	if w.requests[key] == nil {
		w.requests[key] = fmt.Appendf(nil, "GET %s HTTP/1.1\r\nHost: fleet.test\r\nX-Client: %s\r\n\r\n", w.load.Paths[a.Route], w.load.client(a.Client))
	}
	return w.requests[key]
}

// client is the name that a client has in this run.
func (l *Load) client(i int) string { return l.Tag + "-" + strconv.Itoa(i) }

// exchange sends again, once, on a new connection when a kept one ended before it answered anything, as every client of HTTP
// does with a GET.
func (w *worker) exchange(request []byte) error {
	kept := w.conn != nil
	err := w.once(request)
	if err != nil && kept {
		err = w.once(request)
	}
	return err
}

func (w *worker) once(request []byte) (err error) {
	if w.conn == nil {
		if w.conn, err = net.DialTimeout("tcp", w.address, w.load.Patience); err != nil {
			w.conn = nil
			return err
		}
		w.reader = bufio.NewReaderSize(w.conn, 4096)
	}
	defer func() {
		if err != nil || w.answer.ConnectionClose() {
			w.drop()
		}
	}()
	if err = w.conn.SetDeadline(time.Now().Add(w.load.Patience)); err != nil {
		return err
	}
	if _, err = w.conn.Write(request); err != nil {
		return err
	}
	return w.answer.Read(w.reader)
}

func (w *worker) drop() {
	if w.conn != nil {
		_ = w.conn.Close()
		w.conn = nil
	}
}

var (
	storeDown = []byte("store-unavailable")
	remaining = []byte(";r=")
)

func (w *worker) read(r *Request) {
	r.RetryAfter, _ = strconv.Atoi(string(w.answer.Header.Peek("Retry-After")))
	r.StoreDown = r.Status == 503 && bytes.Contains(w.answer.Body(), storeDown)
	if _, rest, ok := bytes.Cut(w.answer.Header.Peek("RateLimit"), remaining); ok {
		digits, _, _ := bytes.Cut(rest, []byte(";"))
		if n, err := strconv.Atoi(string(digits)); err == nil {
			r.Left = n
		}
	}
}
