package dedup_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/oncegate/oncegate/internal/answer"
	"github.com/oncegate/oncegate/internal/dedup"
	"github.com/oncegate/oncegate/internal/pipeline"
)

// rpc is post as a gRPC client sends it.
func rpc(change ...func(*pipeline.Memory)) *pipeline.Memory {
	m := pipeline.NewMemory("POST", "/orders.Orders/Place").WithHeader("Idempotency-Key", "k1").WithHeader("Content-Type", "application/grpc+proto").WithChunkedBody([]byte("\x00\x00\x00\x00\x01a"))
	m.Client = pipeline.Client{Identity: "iss|ann", Subject: "ann"}
	m.Deadline = m.Start.Add(10 * time.Second)
	m.ID, m.HTTP2 = []byte("request-1"), true
	for _, f := range change {
		f(m)
	}
	return m
}

// ended is an answer with a body and trailers behind it, which are there when the body was read, like those of the end.
type ended struct {
	io.Reader
	x    *pipeline.Exchange
	pair []string
}

func (e *ended) Read(p []byte) (int, error) {
	n, err := e.Reader.Read(p)
	if err == io.EOF && e.pair != nil {
		for i := 0; i < len(e.pair); i += 2 {
			e.x.Trailers.Add(e.pair[i], e.pair[i+1])
		}
		e.pair = nil
	}
	return n, err
}

func (e *ended) Close() error { return nil }

func trailing(body string, pairs ...string) pipeline.HandlerFunc {
	return func(_ context.Context, x *pipeline.Exchange) error {
		x.Effect, x.Trailers = pipeline.EffectDone, &pipeline.Trailers{}
		x.Response.SetStatus(200)
		x.Response.Add("Content-Type", []byte("application/grpc+proto"))
		x.Response.Add("Grpc-Encoding", []byte("gzip"))
		x.Response.SetStream(&ended{strings.NewReader(body), x, pairs}, -1)
		return nil
	}
}

// trailersOf gives what follows the body, or stands in the head of an answer that is trailers only.
func trailersOf(m *pipeline.Memory) string {
	var s strings.Builder
	add := func(name, value string) { s.WriteString(strings.ToLower(name) + "=" + value + ";") }
	for _, name := range []string{"Grpc-Status", "Grpc-Message", "Grpc-Status-Details-Bin"} {
		for _, value := range m.Sent.Values(name) {
			add("head "+name, value)
		}
	}
	m.Trailers.Each(add)
	return s.String()
}

// TestGRPCEveryStatus is the table of what becomes of a key, in trailers and in a head that is trailers, too.
func TestGRPCEveryStatus(t *testing.T) {
	frees, unknown := map[int]bool{8: true, 16: true}, map[int]bool{1: true, 4: true, 14: true}
	for code := range 18 {
		status := fmt.Sprint(code)
		for name, upstream := range map[string]pipeline.HandlerFunc{
			"trailers":      trailing("\x00\x00\x00\x00\x01b", "Grpc-Status", status, "Grpc-Message", "m", "Grpc-Status-Details-Bin", "ZA", "X-Cost", "7"),
			"trailers only": answers(200, "", "Content-Type", "application/grpc", "Grpc-Status", status, "Grpc-Message", "m", "Grpc-Status-Details-Bin", "ZA", "X-Cost", "7"),
		} {
			r := newRig(t)
			r.upstream = upstream
			told, all := "grpc-status="+status+";grpc-message=m;grpc-status-details-bin=ZA;", ""
			first := want{status: 200, said: "executed", body: "\x00\x00\x00\x00\x01b", calls: 1}
			if all = told + "x-cost=7;"; name == "trailers only" {
				first.body = ""
				told = "head " + strings.ReplaceAll(strings.TrimSuffix(told, ";"), ";", ";head ") + ";"
				all = told
			}
			switch {
			case unknown[code]:
				m := r.serve(rpc(), undecided.with(pipeline.GRPCAsHTTP(code)).after(1))
				if m.Problem.GRPC != code || trailersOf(m) != "" {
					t.Errorf("the upstream's own status is %d, trailers %q", m.Problem.GRPC, trailersOf(m))
				}
				m = r.serve(rpc(), undecided.after(1))
				if m.Problem.GRPC != 0 {
					t.Error("a duplicate is told the first one's status")
				}
			case frees[code]:
				if m := r.serve(rpc(), first); trailersOf(m) != all {
					t.Errorf("%q", trailersOf(m))
				}
				r.serve(rpc(), first.after(2))
				r.count(dedup.ResultReleased, 2)
			default:
				if m := r.serve(rpc(), first); trailersOf(m) != all {
					t.Errorf("%q", trailersOf(m))
				}
				first.said = "replayed"
				m := r.serve(rpc(), first)
				if trailersOf(m) != told || m.Sent.Header("X-Cost") != nil {
					t.Errorf("replayed %q, want %q", trailersOf(m), told)
				}
				if name == "trailers" && string(m.Sent.Header("Grpc-Encoding")) != "gzip" {
					t.Error("messages can't be read without their encoding")
				}
			}
			if t.Failed() {
				t.Fatalf("code %d in %s", code, name)
			}
		}
	}
}

// TestGRPCWithoutStatus: HTTP's 200 alone says nothing.
func TestGRPCWithoutStatus(t *testing.T) {
	for name, pairs := range map[string][]string{
		"none":      {"X-Cost", "7"},
		"malformed": {"Grpc-Status", "OK"},
		"negative":  {"Grpc-Status", "-1"},
		"empty":     {"Grpc-Status", ""},
		"endless":   {"Grpc-Status", "00000000000000000000"},
		"twice":     {"Grpc-Status", "0", "grpc-status", "0"},
	} {
		t.Log(name)
		r := newRig(t)
		r.upstream = trailing("b", pairs...)
		m := r.serve(rpc(), undecided.with(502).after(1))
		if m.Trailers != nil || len(m.Sent.Body()) != 0 {
			t.Error("a part of the answer goes on")
		}
		r.serve(rpc(), undecided.after(1))
	}
	for name, broken := range map[string]struct {
		err    error
		status int
	}{"reset": {io.ErrUnexpectedEOF, 502}, "silence": {pipeline.UpstreamTimeout, 504}} {
		t.Log(name)
		r := newRig(t)
		r.upstream = streams(200, "application/grpc", "b", -1, broken.err)
		r.serve(rpc(), undecided.with(broken.status).after(1))
		r.serve(rpc(), undecided.after(1))
		lost := newRig(t)
		lost.upstream = fails(errors.Join(pipeline.UpstreamFailed), pipeline.EffectDone)
		lost.serve(rpc(), undecided.with(502).after(1))
	}
	// Both in the head and behind the body.
	r := newRig(t)
	r.upstream = func(ctx context.Context, x *pipeline.Exchange) error {
		x.Response.Add("Grpc-Status", []byte("0"))
		return trailing("b", "Grpc-Status", "0")(ctx, x)
	}
	r.serve(rpc(), undecided.with(502).after(1))
}

// Statuses of HTTP come from what stands in between: 503 is no word of the upstream's then.
func TestGRPCOtherHTTPStatus(t *testing.T) {
	for status, unknown := range map[int]bool{404: false, 500: false, 502: true, 503: true, 504: true} {
		r := newRig(t)
		r.upstream = answers(status, "no")
		if unknown {
			r.serve(rpc(), undecided.with(status).after(1))
			continue
		}
		r.serve(rpc(), want{status: status, said: "executed", body: "no", calls: 1})
		r.serve(rpc(), want{status: status, said: "replayed", body: "no", calls: 1})
	}
}

func TestGRPCReleaseOn(t *testing.T) {
	r := newRig(t, func(c *dedup.Config) { c.ReleaseOn = []int{503} })
	r.upstream = answers(200, "", "Grpc-Status", "14")
	if m := r.serve(rpc(), want{status: 200, said: "executed", calls: 1}); trailersOf(m) != "head grpc-status=14;" {
		t.Errorf("%q", trailersOf(m))
	}
	r.upstream = trailing("b", "Grpc-Status", "0")
	r.serve(rpc(), want{status: 200, said: "executed", calls: 2})
	r.serve(rpc(), want{status: 200, said: "replayed", body: "b", calls: 2})
}

// Sealed answers bring their status back, too, and to nobody without the key.
func TestGRPCSealed(t *testing.T) {
	r := newRig(t)
	sealer, err := answer.NewSealer([]byte("a key of thirty-two bytes length"))
	if err != nil {
		t.Fatal(err)
	}
	r.records.Seal(sealer)
	r.upstream = trailing("b", "Grpc-Status", "9", "Grpc-Message", "m")
	r.serve(rpc(), want{status: 200, said: "executed", body: "b", calls: 1})
	if m := r.serve(rpc(), want{status: 200, said: "replayed", body: "b", calls: 1}); trailersOf(m) != "grpc-status=9;grpc-message=m;" {
		t.Errorf("%q", trailersOf(m))
	}
	r.records.Seal(nil)
	r.serve(rpc(), notKept.after(1))
}

// What is too large is finished and not kept; what has not ended by the deadline is not known, and goes on all the same.
func TestGRPCUnended(t *testing.T) {
	large := strings.Repeat("x", 1<<10+1)
	r := newRig(t)
	r.upstream = trailing(large, "Grpc-Status", "0")
	m := r.serve(rpc(), want{status: 200, said: "executed", body: large, calls: 1})
	if trailersOf(m) != "grpc-status=0;" {
		t.Errorf("%q", trailersOf(m))
	}
	r.serve(rpc(), notKept.after(1))

	r = newRig(t)
	r.upstream = streams(200, "application/grpc", "b", -1, pipeline.ErrPending)
	r.serve(rpc(func(m *pipeline.Memory) { m.Deadline = m.Start.Add(-time.Second) }), want{status: 200, said: "unknown", calls: 1})
	r.serve(rpc(), undecided.after(1))
}

// Messages are asked for without compression, so that a retry that can't decompress can read them.
func TestGRPCAsksForIdentity(t *testing.T) {
	r := newRig(t)
	r.upstream = func(ctx context.Context, x *pipeline.Exchange) error {
		asked := 0
		for _, f := range x.Outgoing.Fields() {
			if f.Name == "Grpc-Accept-Encoding" && string(f.Value) == "identity" {
				asked++
			}
		}
		if asked != 1 {
			t.Error("not asked for")
		}
		return trailing("", "Grpc-Status", "0")(ctx, x)
	}
	r.serve(rpc(), want{status: 200, said: "executed", calls: 1})
	if m := r.serve(rpc(), want{status: 200, said: "replayed", calls: 1}); trailersOf(m) != "head grpc-status=0;" {
		t.Errorf("an answer without a message is trailers only: %q", trailersOf(m))
	}
}

// Other requests know nothing of all this: no trailer of theirs is kept, grpc-status least of all.
func TestTrailersOfOthersAreNotKept(t *testing.T) {
	r := newRig(t)
	r.upstream = trailing("b", "Grpc-Status", "14", "X-Sum", "1")
	if m := r.serve(post(), want{status: 200, said: "executed", body: "b", calls: 1}); trailersOf(m) != "grpc-status=14;x-sum=1;" {
		t.Errorf("%q", trailersOf(m))
	}
	if m := r.serve(post(), want{status: 200, said: "replayed", body: "b", calls: 1}); trailersOf(m) != "" {
		t.Errorf("replayed %q", trailersOf(m))
	}
}
