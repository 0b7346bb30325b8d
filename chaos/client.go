package chaos

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

const (
	callField   = "X-Chaos-Call" // names the invocation; no part of the fingerprint
	clientLimit = 6 * time.Second
	tokenSecret = "chaos-secret-0123456789-0123456789-0123456789"
	issuerURL   = "https://id.test/"
)

// Client sends keyed writes and notes every invocation and answer.
type Client struct {
	addresses []string // of the gateways
	sticky    bool     // each slot has its gateway: they share no store
	history   *History
	tokens    map[string]string
	transport *http.Transport
	n         atomic.Int64
}

// NewClient makes a client of the gateways at addresses.
func NewClient(addresses []string, sticky bool, h *History, principals []string) (*Client, error) {
	c := &Client{addresses: addresses, sticky: sticky, history: h, tokens: map[string]string{}}
	for _, p := range principals {
		now := time.Now()
		signed, err := jwt.NewWithClaims(jwt.SigningMethodHS256, jwt.MapClaims{
			"iss": issuerURL, "aud": "api", "sub": p, "iat": now.Unix(), "exp": now.Add(6 * time.Hour).Unix(),
		}).SignedString([]byte(tokenSecret))
		if err != nil {
			return nil, err
		}
		c.tokens[p] = signed
	}
	// A connection for each call: net/http sends a request with an Idempotency-Key again when a used connection breaks.
	c.transport = &http.Transport{DisableKeepAlives: true, DisableCompression: true}
	return c, nil
}

// Op is one operation: a write under a key.
type Op struct {
	Slot   Slot
	Script Script
}

// gateway picks one for a slot.
func (c *Client) gateway(s Slot, r *rand.Rand) int {
	if !c.sticky {
		return r.IntN(len(c.addresses))
	}
	return int(hashed([]byte(s.String()))[0]) % len(c.addresses)
}

// Ask sends the operation once. A variant other than "" is another body under the same key.
func (c *Client) Ask(op Op, variant string, gateway int, last bool) Call {
	s := op.Script
	s.Op += variant
	body, err := json.Marshal(s)
	if err != nil {
		panic(err) // a struct of texts and numbers
	}
	call := &Call{ID: fmt.Sprintf("c%d", c.n.Add(1)), Slot: op.Slot, Variant: variant, Script: s, Gateway: gateway, Last: last}
	ctx, cancel := context.WithTimeout(context.Background(), clientLimit)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+c.addresses[gateway]+"/"+op.Slot.Route, bytes.NewReader(body))
	if err != nil {
		panic(err)
	}
	req.GetBody = nil
	req.Header.Set("Authorization", "Bearer "+c.tokens[op.Slot.Principal])
	req.Header.Set("Idempotency-Key", op.Slot.Key)
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set(callField, call.ID)
	c.history.Invoke(call)
	answer, refused, err := c.send(req)
	c.history.Ended(call, func(call *Call) {
		call.Answer, call.Refused = answer, refused
		if err != nil {
			call.Err = err.Error()
		}
	})
	return *call
}

func (c *Client) send(req *http.Request) (a Answer, refused bool, err error) {
	got, err := c.transport.RoundTrip(req)
	if err != nil {
		return a, errors.Is(err, syscall.ECONNREFUSED), err
	}
	defer got.Body.Close()
	body, err := io.ReadAll(got.Body)
	if err != nil {
		return a, false, err
	}
	h := got.Header
	a = Answer{
		Status: got.StatusCode, Said: h.Get("Idempotency-Status"), Replayed: h.Get("Idempotent-Replayed") == "true",
		RetryAfter: h.Get("Retry-After"), Body: hashed(body),
		Kept: strings.Join([]string{h.Get("Content-Type"), h.Get("Location"), h.Get("ETag")}, "|"),
	}
	var doc struct {
		Exec           string `json:"exec"`
		Type           string `json:"type"`
		Executed       string `json:"executed"`
		OriginalStatus int    `json:"original_status"`
		Ref            string `json:"operation_ref"`
	}
	_ = json.Unmarshal(body, &doc) // other bodies hold nothing that is looked at
	a.Exec, a.Executed, a.OriginalStatus, a.Ref = doc.Exec, doc.Executed, doc.OriginalStatus, doc.Ref
	a.Kind = strings.TrimPrefix(doc.Type, "urn:oncegate:problem:")
	if a.Replayed && h.Get("Set-Cookie") != "" {
		return a, false, errors.New("a replay carries Set-Cookie")
	}
	return a, false, nil
}

// Habit is how clients behave; its name is the cell's.
type Habit string

// The habits of the matrix.
const (
	Sequential Habit = "sequential" // one attempt after the other
	Storm      Habit = "storm"      // duplicates on all gateways at once
	Elsewhere  Habit = "elsewhere"  // each attempt on the next gateway
	OtherBody  Habit = "otherbody"  // the key with other bodies, and with other clients
)

// Habits are all of them.
var Habits = []Habit{Sequential, Storm, Elsewhere, OtherBody}

const (
	budget   = 24 // attempts of one operation
	stormful = 12 // duplicates at once
)

// Run does the operation until it has a final answer or the budget is spent, or stop is closed.
func (c *Client) Run(op Op, habit Habit, r *rand.Rand, stop <-chan struct{}) {
	if habit == Storm {
		c.storm(op, r)
	}
	at, unknowns := c.gateway(op.Slot, r), 0
	for range budget {
		if habit == Elsewhere && !c.sticky {
			at = (at + 1) % len(c.addresses)
		}
		answered := c.Ask(op, "", at, false)
		m := answered.Means()
		if habit == OtherBody && (m == Real || m == Sealed || m == Undetermined || m == Running) {
			c.Ask(op, "wrong", c.gateway(op.Slot, r), false)
		}
		if m == Undetermined {
			unknowns++
		}
		if m == Real || m == Sealed || m == Reused || unknowns == 3 {
			break
		}
		if !wait(time.Duration(10+r.IntN(90))*time.Millisecond, stop) {
			return
		}
	}
	if r.IntN(2) == 0 { // a late duplicate
		c.Ask(op, "", c.gateway(op.Slot, r), false)
	}
}

// storm sends most of the duplicates at once, and the others while the first may still run.
func (c *Client) storm(op Op, r *rand.Rand) {
	var group sync.WaitGroup
	start := make(chan struct{})
	for i := range stormful {
		at, late := c.gateway(op.Slot, r), time.Duration(0)
		if i%3 == 2 {
			late = time.Duration(r.IntN(400)) * time.Millisecond
		}
		group.Go(func() {
			<-start
			wait(late, nil)
			c.Ask(op, "", at, false)
		})
	}
	close(start)
	group.Wait()
}

// wait is false when stop ended it.
func wait(d time.Duration, stop <-chan struct{}) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-stop:
		return false
	}
}
