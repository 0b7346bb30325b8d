package upstream

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/oncegate/oncegate/internal/pipeline"
)

// Every answer is given in one segment and byte by byte, to a response of fasthttp's and to a plain view.
func TestAnswers(t *testing.T) {
	many := strings.Repeat("HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n", 100)
	tests := []struct {
		name, method, answer string
		status               int
		fields               string // what must stand in the head, joined with |
		body                 string
		kept                 bool // the connection is used again
		kind                 pipeline.Refusal
		broken               bool
	}{
		{name: "sized", answer: okAnswer, status: 200, fields: "Content-Type: text/plain", body: "ok", kept: true},
		{name: "fields as sent", answer: "HTTP/1.1 201 Made\r\nx-lower: 1\r\nSet-Cookie: a=1\r\nset-cookie: b=2\r\nDate: Mon\r\nSERVER: s\r\nContent-Length: 0\r\n\r\n",
			status: 201, fields: "x-lower: 1|Set-Cookie: a=1|Set-Cookie: b=2|Date: Mon|Server: s", kept: true},
		{name: "no content type", answer: "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", status: 200, body: "ok", kept: true},
		{name: "no reason", answer: "HTTP/1.1 404\r\nContent-Length: 0\r\n\r\n", status: 404, kept: true},
		{name: "chunked", answer: "HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked\r\n\r\n1;x=y\r\no\r\n001\r\nk\r\n0\r\nT: 1\r\n\r\n", status: 200, body: "ok", kept: true},
		{name: "to the close", answer: "HTTP/1.1 200 OK\r\n\r\nok", status: 200, body: "ok"},
		{name: "old", answer: "HTTP/1.0 200 OK\r\nContent-Length: 2\r\nConnection: keep-alive\r\n\r\nok", status: 200, body: "ok"},
		{name: "old to the close", answer: "HTTP/1.0 200 OK\r\n\r\nok", status: 200, body: "ok"},
		{name: "close", answer: "HTTP/1.1 200 OK\r\nConnection: Close, x\r\nX: 1\r\nContent-Length: 2\r\n\r\nok", status: 200, body: "ok"},
		{name: "hop by hop", answer: "HTTP/1.1 200 OK\r\nkeep-alive: timeout=9\r\nX-Named: 1\r\nUPGRADE: h2c\r\nA: 1\r\nconnection: x-named, upgrade\r\nProxy-Authenticate: x\r\nTrailer: t\r\nB: 2\r\nContent-Length: 2\r\n\r\nok",
			status: 200, fields: "A: 1|B: 2", body: "ok", kept: true},
		{name: "keep-alive of a second", answer: "HTTP/1.1 200 OK\r\nKeep-Alive: timeout=1\r\nContent-Length: 2\r\n\r\nok", status: 200, body: "ok"},
		{name: "426 is ordinary", answer: "HTTP/1.1 426 Upgrade Required\r\nUpgrade: TLS/1.0\r\nConnection: Upgrade\r\nContent-Length: 2\r\n\r\nok", status: 426, body: "ok", kept: true},
		{name: "encodings", answer: "HTTP/1.1 200 OK\r\nContent-Encoding: a\r\nContent-Encoding: b\r\nContent-Length: 2\r\n\r\nok", status: 200, body: "ok", kept: true},
		{name: "100", answer: "HTTP/1.1 100 Continue\r\n\r\n" + okAnswer, status: 200, body: "ok", kept: true},
		{name: "103", answer: "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" + okAnswer, status: 200, body: "ok", kept: true},
		{name: "100 x 103", answer: many + okAnswer, status: 200, body: "ok", kept: true},
		{name: "101 x 103", answer: many + many + okAnswer, kind: pipeline.UpstreamFailed},
		{name: "head", method: "HEAD", answer: "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", status: 200, fields: "Content-Length: 5", kept: true},
		{name: "head chunked", method: "HEAD", answer: "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", status: 200, kept: true},
		{name: "204", answer: "HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\n", status: 204, kept: true},
		{name: "304", answer: "HTTP/1.1 304 Not Modified\r\nETag: \"a\"\r\nContent-Length: 5\r\n\r\n", status: 304, fields: "ETag: \"a\"|Content-Length: 5", kept: true},
		{name: "surplus", answer: okAnswer + okAnswer, status: 200, body: "ok"},
		{name: "surplus after chunks", answer: "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\nX", status: 200, body: "ok"},
		{name: "truncated", answer: "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nok", status: 200, broken: true},
		{name: "truncated chunk", answer: "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nok", status: 200, broken: true},
		{name: "no last chunk", answer: "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n", status: 200, broken: true},
		{name: "no end of trailers", answer: "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n", status: 200, broken: true},
		{name: "bad chunk", answer: "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nokX\r\n0\r\n\r\n", status: 200, broken: true},
		{name: "bare LF chunk", answer: "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\nok\r\n0\r\n\r\n", status: 200, broken: true},
		{name: "bad trailer", answer: "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nnonsense\r\n\r\n", status: 200, broken: true},
		{name: "two lengths", answer: "HTTP/1.1 200 OK\r\nContent-Length: 2\r\ncontent-length: 3\r\n\r\nokk", kind: pipeline.UpstreamFailed},
		{name: "list of lengths", answer: "HTTP/1.1 200 OK\r\nContent-Length: 2, 2\r\n\r\nok", kind: pipeline.UpstreamFailed},
		{name: "signed length", answer: "HTTP/1.1 200 OK\r\nContent-Length: +2\r\n\r\nok", kind: pipeline.UpstreamFailed},
		{name: "huge length", answer: "HTTP/1.1 200 OK\r\nContent-Length: 9999999999999999999\r\n\r\nok", kind: pipeline.UpstreamFailed},
		{name: "gzip, chunked", answer: "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", kind: pipeline.UpstreamFailed},
		{name: "chunked twice", answer: "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", kind: pipeline.UpstreamFailed},
		{name: "chunked and length", answer: "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", kind: pipeline.UpstreamFailed},
		{name: "chunked in 1.0", answer: "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", kind: pipeline.UpstreamFailed},
		{name: "101", answer: "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n", kind: pipeline.UpstreamFailed},
		{name: "status 099", answer: "HTTP/1.1 099 X\r\n\r\n", kind: pipeline.UpstreamFailed},
		{name: "status 600", answer: "HTTP/1.1 600 X\r\n\r\n", kind: pipeline.UpstreamFailed},
		{name: "HTTP/2.0", answer: "HTTP/2.0 200 OK\r\n\r\n", kind: pipeline.UpstreamFailed},
		{name: "folded", answer: "HTTP/1.1 200 OK\r\nA: b\r\n c\r\n\r\n", kind: pipeline.UpstreamFailed},
		{name: "space before colon", answer: "HTTP/1.1 200 OK\r\nA : b\r\n\r\n", kind: pipeline.UpstreamFailed},
		{name: "space in name", answer: "HTTP/1.1 200 OK\r\nA B: b\r\n\r\n", kind: pipeline.UpstreamFailed},
		{name: "bare CR", answer: "HTTP/1.1 200 OK\r\nA: b\rC: d\r\n\r\n", kind: pipeline.UpstreamFailed},
		{name: "bare LF", answer: "HTTP/1.1 200 OK\r\nA: b\nC: d\r\n\r\n", kind: pipeline.UpstreamFailed},
		{name: "NUL", answer: "HTTP/1.1 200 OK\r\nA: b\x00\r\n\r\n", kind: pipeline.UpstreamFailed},
		{name: "long head", answer: "HTTP/1.1 200 OK\r\n" + strings.Repeat("A: "+strings.Repeat("b", 1000)+"\r\n", 70) + "\r\n", kind: pipeline.UpstreamFailed},
		{name: "head of 60 KiB", answer: "HTTP/1.1 200 OK\r\n" + strings.Repeat("A: "+strings.Repeat("b", 995)+"\r\n", 60) + "Content-Length: 2\r\n\r\nok", status: 200, body: "ok", kept: true},
	}
	for _, tt := range tests {
		for _, split := range []bool{false, true} {
			for _, fast := range []bool{false, true} {
				if split && (len(tt.answer) > 400 || strings.HasPrefix(tt.name, "surplus")) {
					continue
				}
				t.Run(fmt.Sprintf("%s/split=%v/fast=%v", tt.name, split, fast), func(t *testing.T) {
					t.Parallel()
					f := newFake(t, func(p *peer) {
						for p.request() != nil {
							sendSplit(p, tt.answer, split)
							if !tt.kept {
								if strings.HasPrefix(tt.name, "surplus") {
									p.block()
								}
								return
							}
						}
					})
					r := newRig(t, defaults(f.url))
					m := get("a")
					if tt.method != "" {
						m = with(tt.method, "a")
					}
					resp := &fastMemory{MemoryResponse: m.Sent}
					if fast {
						m.Response = resp
					}
					err := r.Serve(context.Background(), &m.Exchange)
					wantKind(t, err, tt.kind)
					if err != nil {
						return
					}
					body, err := m.Sent.ReadBody()
					if tt.broken {
						if err == nil || !strings.Contains(err.Error(), io.ErrUnexpectedEOF.Error()) || !m.Attempt.Broken {
							t.Fatalf("%q, %v, broken %v", body, err, m.Attempt.Broken)
						}
					} else if err != nil || string(body) != tt.body || m.Attempt.Broken {
						t.Fatalf("body %q, %v", body, err)
					}
					status, head, fields := m.Sent.Status(), plainHead(m.Sent), tt.fields
					if fast {
						status, head = resp.fast.StatusCode(), resp.fast.Header.String()
						fields = strings.Replace(fields, "|Date: Mon", "", 1) // fasthttp's own stands there, which is right on Mondays only
						if resp.fast.ConnectionClose() || strings.Contains(head, "HTTP/1.0") {
							t.Errorf("the client's connection is not the upstream's: %s", head)
						}
						if tt.name == "no content type" && strings.Contains(head, "Content-Type") {
							t.Errorf("invented: %s", head)
						}
					}
					if status != tt.status || m.Effect != pipeline.EffectDone {
						t.Errorf("status %d, effect %v", status, m.Effect)
					}
					checkFields(t, head, fields)
					wantIdle := 0
					if tt.kept {
						wantIdle = 1
					}
					if info := r.Targets()[0]; info.Idle != wantIdle || info.Open != wantIdle {
						t.Errorf("%+v, want %d idle", info, wantIdle)
					}
				})
			}
		}
	}
}

func checkFields(t *testing.T, head, want string) {
	t.Helper()
	low := strings.ToLower(head)
	for _, line := range strings.Split(want, "|") {
		if !strings.Contains(low, strings.ToLower(line)) || strings.Contains(line, "x-lower") && !strings.Contains(head, line) {
			t.Errorf("%q is missing in\n%s", line, head)
		}
	}
	for _, hop := range []string{"connection:", "keep-alive:", "upgrade:", "x-named", "proxy-auth", "trailer:", "transfer-encoding"} {
		if strings.Contains(low, hop) {
			t.Errorf("%q was passed on:\n%s", hop, head)
		}
	}
	if strings.Contains(low, "204 no content") && strings.Contains(low, "content-length") {
		t.Errorf("204 with a length:\n%s", head)
	}
}

func plainHead(r *pipeline.MemoryResponse) string {
	var b bytes.Buffer
	r.EachField(func(n, v []byte) { fmt.Fprintf(&b, "%s: %s\r\n", n, v) })
	return b.String()
}

func sendSplit(p *peer, text string, split bool) {
	if !split {
		p.send(text)
		return
	}
	for i := range len(text) {
		p.send(text[i : i+1])
		if i%7 == 0 {
			time.Sleep(50 * time.Microsecond)
		}
	}
}

func TestRepeatedEncodingsBecomeAList(t *testing.T) {
	f := newFake(t, answering("HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\nContent-Encoding: br\r\nContent-Length: 2\r\n\r\nok"))
	r := newRig(t, defaults(f.url))
	m := get("a")
	resp := &fastMemory{MemoryResponse: m.Sent}
	m.Response = resp
	body, err := r.do(m)
	wantOK(t, body, err)
	if got := string(resp.fast.Header.ContentEncoding()); got != "gzip, br" {
		t.Errorf("Content-Encoding: %s", got)
	}
}

// What an error says goes to the log: nothing of the head may stand in it.
func TestErrorsQuoteNothing(t *testing.T) {
	for _, answer := range []string{
		"HTTP/1.1 200 OK\r\nSet-Cookie: s3cret\r\nA : s3cret\r\n\r\n", "s3cret\r\n\r\n", "HTTP/1.1 2s3cret\r\n\r\n",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: s3cret\r\n\r\n",
	} {
		f := newFake(t, answering(answer))
		r := newRig(t, defaults(f.url))
		_, err := r.do(with("POST", "a"))
		wantKind(t, err, pipeline.UpstreamFailed)
		if strings.Contains(err.Error(), "s3cret") {
			t.Error(err)
		}
	}
}
