package chaos

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Execution is one line of the ledger: a request that reached the upstream whole, and what it did there.
type Execution struct {
	Exec      string `json:"exec"`
	Call      string `json:"call"` // the invocation that it came from
	Op        string `json:"op"`
	Forwarded string `json:"forwarded"`
	Attempt   int    `json:"attempt"` // Idempotency-Attempt; 0: none
	Body      string `json:"body"`
	Effect    bool   `json:"effect"` // false: refused, died before, or known by its forwarded key
	Status    int    `json:"status"`
	Arrived   int64  `json:"arrived"`
	T         int64  `json:"t"`
}

// ReadLedger reads the upstream's file.
func ReadLedger(path string) (all []Execution, err error) {
	err = eachLine(path, func(text []byte) error {
		var e Execution
		if err := json.Unmarshal(text, &e); err != nil {
			return err
		}
		all = append(all, e)
		return nil
	})
	return all, err
}

// ledger is the upstream. What it executes is on disk before it answers.
type ledger struct {
	mu      sync.Mutex
	file    *os.File
	n       int
	arrived map[string]int       // by body
	effects map[string]Execution // by forwarded key
}

// ServeLedger runs the upstream until its standard input ends; the first line of its output is its address. It is the main
// function of a process of its own.
func ServeLedger(path string) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	l := &ledger{file: f, arrived: map[string]int{}, effects: map[string]Execution{}}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /executions/{key}", l.status)
	mux.HandleFunc("POST /", l.write)
	server := &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second}
	go server.Serve(ln) //nolint:errcheck // ends with the process
	fmt.Println(ln.Addr())
	_, _ = io.Copy(io.Discard, os.Stdin)
	return nil
}

// status answers what was executed under a forwarded key.
func (l *ledger) status(w http.ResponseWriter, r *http.Request) {
	l.mu.Lock()
	e, found := l.effects[r.PathValue("key")]
	l.mu.Unlock()
	if !found {
		http.Error(w, `{"executed":false}`, http.StatusNotFound)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(e)
}

func hashed(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:8])
}

func (l *ledger) write(w http.ResponseWriter, r *http.Request) {
	arrived := time.Now().UnixNano()
	body, err := io.ReadAll(r.Body)
	var s Script
	if err != nil || json.Unmarshal(body, &s) != nil {
		return // not whole: nothing is executed
	}
	pause(s.Delay)
	attempt, _ := strconv.Atoi(r.Header.Get("Idempotency-Attempt"))
	e := Execution{
		Call: r.Header.Get(callField), Op: s.Op, Forwarded: r.Header.Get("Idempotency-Key"), Attempt: attempt,
		Body: hashed(body), Arrived: arrived,
	}
	if err := l.execute(&e, &s); err != nil {
		fmt.Fprintln(os.Stderr, "ledger:", err)
		os.Exit(1) // without its disk it proves nothing
	}
	pause(s.After)
	reply(w, e, s)
}

func pause(ms int) { time.Sleep(time.Duration(ms) * time.Millisecond) }

// execute has the effect, and notes it on disk. A script that has run its times is an ordinary one from then on.
func (l *ledger) execute(e *Execution, s *Script) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.n++
	e.Exec = fmt.Sprintf("x%d-%d", os.Getpid(), l.n)
	where := e.Body + e.Forwarded
	l.arrived[where]++
	if s.Times > 0 && l.arrived[where] > s.Times {
		s.Status, s.Die = 0, ""
	}
	if e.Status = s.Status; e.Status == 0 {
		e.Status = http.StatusCreated
	}
	e.Effect = s.Die != DieBefore && !FreesKey(e.Status)
	if known, again := l.effects[e.Forwarded]; again && s.Dedup {
		e.Exec, e.Effect = known.Exec, false
	}
	if e.Effect {
		l.effects[e.Forwarded] = *e
	}
	e.T = time.Now().UnixNano()
	text, err := json.Marshal(e)
	if err != nil {
		return err
	}
	if _, err := l.file.Write(append(text, '\n')); err != nil {
		return err
	}
	return l.file.Sync()
}

// reply answers as the script says.
func reply(w http.ResponseWriter, e Execution, s Script) {
	text := fmt.Sprintf(`{"exec":%q,"op":%q,"pad":%q}`, e.Exec, e.Op, strings.Repeat("p", s.Size))
	switch s.Die {
	case DieBefore, DieAfter:
		hijack(w, "", false)
		return
	case DieRST, DieHalf:
		head := fmt.Sprintf("HTTP/1.1 %d Done\r\nContent-Type: application/json\r\nLocation: /done/%s\r\nContent-Length: %d\r\n\r\n", e.Status, e.Exec, len(text))
		if s.Die == DieHalf {
			text = text[:len(text)/2]
		}
		hijack(w, head+text, s.Die == DieRST)
		return
	}
	h := w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("Location", "/done/"+e.Exec)
	h.Set("ETag", `"`+e.Exec+`"`)
	h.Set("Set-Cookie", "secret="+e.Exec) // must never be replayed
	if !s.Stream {
		w.WriteHeader(e.Status)
		_, _ = io.WriteString(w, text)
		return
	}
	h.Set("Content-Type", "text/event-stream")
	w.WriteHeader(e.Status)
	for len(text) > 0 {
		n := min(256, len(text))
		_, _ = io.WriteString(w, text[:n])
		text = text[n:]
		_ = http.NewResponseController(w).Flush()
		pause(2)
	}
}

// hijack writes text and closes, with a reset if that is asked for.
func hijack(w http.ResponseWriter, text string, reset bool) {
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return
	}
	defer conn.Close()
	_, _ = io.WriteString(conn, text)
	if tcp, ok := conn.(*net.TCPConn); ok && reset {
		_ = tcp.SetLinger(0)
	}
}
