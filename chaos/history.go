package chaos

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"sync"
	"time"
)

// Slot is what the promise is about: one client's key on one route.
type Slot struct {
	Route     string `json:"route"`
	Principal string `json:"principal"`
	Key       string `json:"key"`
}

func (s Slot) String() string { return s.Route + "/" + s.Principal + "/" + s.Key }

// Call is one invocation and, once End is set, what became of it. Instants are unix nanoseconds.
type Call struct {
	ID      string `json:"id"`
	Slot    Slot   `json:"slot"`
	Variant string `json:"variant,omitempty"` // "": the operation's own body; else a probe with another one
	Script  Script `json:"script"`
	Gateway int    `json:"gateway"`
	Last    bool   `json:"last,omitempty"` // asked when everything was healed
	Start   int64  `json:"start"`
	End     int64  `json:"end,omitempty"`

	Err     string `json:"err,omitempty"`     // no whole answer came
	Refused bool   `json:"refused,omitempty"` // the gateway did not even accept the connection
	Answer  Answer `json:"answer,omitzero"`
}

// Answer is what a client got.
type Answer struct {
	Status         int    `json:"status,omitempty"`
	Kind           string `json:"kind,omitempty"` // of a problem document
	Said           string `json:"said,omitempty"` // Idempotency-Status
	Replayed       bool   `json:"replayed,omitempty"`
	Executed       string `json:"executed,omitempty"`
	OriginalStatus int    `json:"original_status,omitempty"`
	RetryAfter     string `json:"retry_after,omitempty"`
	Ref            string `json:"ref,omitempty"`  // operation_ref
	Kept           string `json:"kept,omitempty"` // the kept headers, as one text
	Body           string `json:"body,omitempty"` // its hash
	Exec           string `json:"exec,omitempty"` // the execution that it tells of
}

// Fault is something that was done to the system from T until Until.
type Fault struct {
	Kind   string `json:"kind"`
	Target string `json:"target,omitempty"`
	T      int64  `json:"t"`
	Until  int64  `json:"until,omitempty"`
}

// The kinds of faults.
const (
	FaultKill    = "kill"    // a gateway ended: kill -9 or a failpoint
	FaultStop    = "stop"    // a gateway was paused
	FaultStore   = "store"   // the store was away, slow or restarted
	FaultLoss    = "loss"    // the store lost what it had acknowledged
	FaultProcess = "process" // a gateway ended by itself: never right
)

// History is everything that clients and nemesis did, in memory and as lines of a file.
type History struct {
	mu     sync.Mutex
	file   *os.File
	out    *bufio.Writer
	calls  []*Call
	faults []*Fault
}

// NewHistory writes to a fresh file.
func NewHistory(path string) (*History, error) {
	f, err := os.Create(path)
	if err != nil {
		return nil, err
	}
	return &History{file: f, out: bufio.NewWriterSize(f, 64<<10)}, nil
}

type line struct {
	Invoke *Call  `json:"invoke,omitempty"`
	Answer *Call  `json:"answer,omitempty"`
	Fault  *Fault `json:"fault,omitempty"`
}

func (h *History) write(l line) {
	text, err := json.Marshal(l)
	if err == nil {
		_, _ = h.out.Write(append(text, '\n'))
	}
}

// Invoke notes a call that begins now.
func (h *History) Invoke(c *Call) {
	h.mu.Lock()
	defer h.mu.Unlock()
	c.Start = time.Now().UnixNano()
	h.calls = append(h.calls, c)
	h.write(line{Invoke: c})
}

// Ended notes the end of a call; set fills in what came of it.
func (h *History) Ended(c *Call, set func(*Call)) {
	h.mu.Lock()
	defer h.mu.Unlock()
	set(c)
	c.End = time.Now().UnixNano()
	h.write(line{Answer: c})
}

// Fault notes a fault that begins now; the function that it returns notes its end.
func (h *History) Fault(kind, target string) (over func()) {
	h.mu.Lock()
	defer h.mu.Unlock()
	f := &Fault{Kind: kind, Target: target, T: time.Now().UnixNano()}
	h.faults = append(h.faults, f)
	return func() {
		h.mu.Lock()
		defer h.mu.Unlock()
		f.Until = time.Now().UnixNano()
		h.write(line{Fault: f})
	}
}

// Snapshot gives copies of everything.
func (h *History) Snapshot() (calls []Call, faults []Fault) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, c := range h.calls {
		calls = append(calls, *c)
	}
	for _, f := range h.faults {
		faults = append(faults, *f)
	}
	return calls, faults
}

// Count is the number of faults of a kind.
func (h *History) Count(kind string) (n int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, f := range h.faults {
		if f.Kind == kind {
			n++
		}
	}
	return n
}

// Close writes what is buffered.
func (h *History) Close() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if err := h.out.Flush(); err != nil {
		return err
	}
	return h.file.Close()
}

// ReadHistory reads a file that was kept.
func ReadHistory(path string) (calls []Call, faults []Fault, err error) {
	at := map[string]int{}
	err = eachLine(path, func(text []byte) error {
		var l line
		if err := json.Unmarshal(text, &l); err != nil {
			return err
		}
		switch {
		case l.Invoke != nil:
			at[l.Invoke.ID] = len(calls)
			calls = append(calls, *l.Invoke)
		case l.Answer != nil:
			calls[at[l.Answer.ID]] = *l.Answer
		case l.Fault != nil:
			faults = append(faults, *l.Fault)
		}
		return nil
	})
	return calls, faults, err
}

func eachLine(path string, f func([]byte) error) error {
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	defer file.Close()
	in := bufio.NewScanner(file)
	in.Buffer(nil, 1<<20)
	for n := 1; in.Scan(); n++ {
		if err := f(in.Bytes()); err != nil {
			return fmt.Errorf("%s:%d: %w", path, n, err)
		}
	}
	return in.Err()
}
