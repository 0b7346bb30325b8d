package e2e

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"
)

func (d *desk) bodies(t *testing.T) {
	d.t = t
	d.upload(t)
	large := strings.Repeat("x", 256<<10)
	d.up.on("/sent/max", answers(201, large))
	d.check(d.post("/sent/max", "max", "{}"), 201, "executed")
	if r := d.check(d.post("/sent/max", "max", "{}"), 201, "replayed"); r.body != large {
		t.Errorf("%d bytes of %d", len(r.body), len(large))
	}
	d.up.on("/w/untilclose", then(says("HTTP/1.0 201 X\r\n\r\nshort"), closes))
	for _, said := range []string{"executed", "replayed"} {
		if r := d.check(d.post("/w/untilclose", "uc", "{}"), 201, said); r.body != "short" || r.get("Content-Length") != "5" {
			t.Errorf("%v %q", r.fields, r.body)
		}
	}
	d.early(t, large)
}

// upload: a body in chunks is the same as one with a length, and so is one that comes slowly.
func (d *desk) upload(t *testing.T) {
	whole := post("POST", "/w/chunks", "0123456789", d.alice, "Idempotency-Key: ch", "Content-Type: application/json")
	head, _, _ := strings.Cut(whole, "Content-Length")
	d.check(d.raw(head+"Transfer-Encoding: chunked\r\n\r\n4\r\n0123\r\n6;x=y\r\n456789\r\n0\r\n\r\n"), 201, "executed")
	d.check(d.raw(whole), 201, "replayed")
	d.check(d.raw(head+"Transfer-Encoding: chunked\r\n\r\na\r\n0123456789\r\n0\r\n\r\n"), 201, "replayed")
	d.problem(d.raw(head+"Transfer-Encoding: chunked\r\n\r\n9\r\n012345678\r\n0\r\n\r\n"), 422, "key-reused no false true")
	if got := d.up.heard("/w/chunks"); len(got) != 1 || got[0].body != "0123456789" || strings.Join(got[0].all("Content-Length"), "") != "10" {
		t.Errorf("the upstream saw %v", got)
	}
	over := strings.Repeat("x", 4097)
	if r := d.raw(head + fmt.Sprintf("Transfer-Encoding: chunked\r\n\r\n1001\r\n%s\r\n0\r\n\r\n", over)); r.status != 413 || r.member("executed") != "" {
		t.Errorf("%d %s", r.status, r.body)
	}
	d.slowUpload(t)
	d.check(d.raw(strings.Replace(head, "\r\nHost", "\r\nExpect: 100-continue\r\nHost", 1)+"Content-Length: 10\r\n\r\n0123456789"), 201, "replayed")
}

// slowUpload: a client that takes longer for its body than the route's timeout takes none of the upstream's time.
func (d *desk) slowUpload(t *testing.T) {
	c, err := net.Dial("tcp", d.address)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(10 * time.Second))
	text := post("POST", "/quick/upload", "0123456789", d.alice, "Idempotency-Key: up")
	_, _ = io.WriteString(c, text[:len(text)-5])
	time.Sleep(250 * time.Millisecond)
	_, _ = io.WriteString(c, text[len(text)-5:])
	d.check(readReply(bufio.NewReader(c)), 201, "executed")
	d.check(d.raw(text), 201, "replayed")
}

// early: the upstream speaks before it has read the body.
func (d *desk) early(t *testing.T, large string) {
	body := strings.Repeat(large, 3) // more than the sockets hold
	send := func(path string) reply {
		return d.raw(post("POST", path, body, d.alice, "Idempotency-Key: e"+path))
	}
	d.up.before("/sent/413", answers(413, "too much"))
	d.up.before("/sent/201", answers(201, "made"))
	for path, status := range map[string]int{"/sent/413": 413, "/sent/201": 201} {
		first := d.check(send(path), status, "executed")
		if r := d.check(send(path), status, "replayed"); r.body != first.body {
			t.Errorf("%s: %q, was %q", path, r.body, first.body)
		}
		d.up.count(path, 1)
	}
	d.up.before("/sent/429", answers(429, "later"))
	d.check(send("/sent/429"), 429, "executed")
	d.check(send("/sent/429"), 429, "executed")
	d.up.count("/sent/429", 2)
	d.up.before("/sent/rst", then(pauses(5*time.Millisecond), resets))
	d.up.before("/sent/fin", closes)
	for _, path := range []string{"/sent/rst", "/sent/fin"} {
		first := d.problem(send(path), 502, "outcome-unknown unknown true false")
		d.ref(first, d.problem(send(path), 409, "outcome-unknown unknown true false"))
		d.up.count(path, 1)
	}
}

// slowAnswers: the claim waits for an answer's body no longer than the route's timeout. What comes later goes to the first
// caller as it comes, and the write is known as finished.
func (d *desk) slowAnswers(t *testing.T) {
	d.t = t
	release := make(chan struct{})
	begin := says("HTTP/1.1 201 X\r\nLocation: /l\r\nTransfer-Encoding: chunked\r\n\r\n")
	piece := then(pauses(30*time.Millisecond), says("4\r\ndrip\r\n"))
	d.up.on("/quick/drip", then(begin, piece, piece, piece, piece, piece, piece, piece, piece, until(release), piece, says("0\r\n\r\n")))
	d.up.on("/quick/half", then(says("HTTP/1.1 201 X\r\nLocation: /l\r\nContent-Length: 8\r\n\r\ndrip"), until(release), says("drip")))
	for _, c := range [][2]string{{"/quick/drip", strings.Repeat("drip", 9)}, {"/quick/half", "dripdrip"}} {
		path, body := c[0], c[1]
		first := make(chan reply, 1)
		go func() { first <- d.post(path, "key"+path, "{}") }()
		d.up.await(path, 1)
		d.ref(d.problem(d.post(path, "key"+path, "{}"), 409, "in-progress in_progress true false"))
		began := time.Now()
		d.eventually("the record to be sealed", func() bool { return strings.Contains(d.post(path, "key"+path, "{}").body, "result-unavailable") })
		if took := time.Since(began); took > 2*time.Second {
			t.Errorf("the claim was held for %v", took)
		}
		release <- struct{}{}
		if r := d.check(<-first, 201, "executed"); r.body != body {
			t.Errorf("%q, wanted %q", r.body, body)
		}
		d.sealed(t, path, 201, "/l")
	}
}
