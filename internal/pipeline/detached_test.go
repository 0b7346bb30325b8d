package pipeline

import (
	"io"
	"reflect"
	"strings"
	"testing"
	"time"
)

// A detached exchange says the same as its original, and nothing in it points into the original's buffers.
func TestDetachOwnsItsBytes(t *testing.T) {
	path, value := []byte("/orders/7"), []byte("v")
	m := NewMemory("POST", "http://api.example.com/orders/7?x=1").WithHeader("X-Empty", "").WithHeader("A", "1").WithHeader("A", "2").WithBody([]byte("body"))
	m.Trace.State, m.Hops, m.Deadline = []byte("s"), []byte("h"), time.Now()
	m.Params.Names = []string{"id"}
	m.Params.Values[0] = path[8:]
	m.Outgoing.Path, m.Outgoing.Authorization = path, true
	m.Outgoing.Set("X-User", value)
	m.Outgoing.Remove("X-Gone")
	m.Client = Client{Identity: "i", Subject: "s"}
	m.Keyed = true
	d := m.Detach([]byte("body"))
	copy(path, "XXXXXXXXX")
	value[0] = 'X'
	if got := string(d.Outgoing.Path) + string(d.Params.Get("id")) + string(d.Outgoing.Fields()[0].Value); got != "/orders/77v" {
		t.Errorf("got %q", got)
	}
	if d.Outgoing.Fields()[1].Value != nil || !d.Outgoing.Authorization {
		t.Error("a removed field came back, or Authorization was lost")
	}
	if d.Request.Header("x-empty") == nil || d.Request.Header("none") != nil || d.Request.Fields() != 3 {
		t.Error("fields differ")
	}
	body, _ := io.ReadAll(d.Request.Body())
	if whole, ok := d.Request.Buffered(); string(body) != "body" || string(whole) != "body" || !ok || d.Request.ContentLength() != 4 {
		t.Errorf("body %q", body)
	}
	if string(d.Request.Method()) != "POST" || string(d.Request.Query()) != "x=1" || d.Client != m.Client || d.Deadline != m.Deadline {
		t.Error("facts differ")
	}
	if d.Keyed {
		t.Error("a copy holds no claim")
	}
	if m.Detach(nil).Request.Body() != nil {
		t.Error("no body became one")
	}
}

func TestDeliver(t *testing.T) {
	m := NewMemory("GET", "/")
	d := m.Detach(nil)
	d.Response.SetStatus(203)
	d.Response.Add("A", []byte("1"))
	d.Response.Add("A", []byte("2"))
	d.Response.SetStream(io.NopCloser(strings.NewReader("stream")), 6)
	d.Effect, d.Attempt.Target = EffectDone, "t"
	d.Deliver(&m.Exchange)
	if !reflect.DeepEqual(m.Sent.Values("A"), []string{"1", "2"}) || m.Sent.Status() != 203 || !m.Sent.Streaming() || string(m.Sent.Body()) != "stream" {
		t.Error("the answer differs")
	}
	if m.Effect != EffectDone || m.Attempt.Target != "t" {
		t.Error("the attempt was lost")
	}
	d = m.Detach(nil)
	d.Response.SetBody([]byte("bytes"))
	if d.Deliver(&m.Exchange); string(m.Sent.Body()) != "bytes" {
		t.Error("the body differs")
	}
}

// A body that breaks off after it was delivered is known at the exchange's end, and the copy's own hooks have run.
func TestDeliverTakesTheEndAlong(t *testing.T) {
	m := NewMemory("GET", "/")
	var ran []string
	m.AtEnd(func(x *Exchange, _ End) { ran = append(ran, map[bool]string{true: "broken"}[x.Attempt.Broken]) })
	d := m.Detach(nil)
	d.AtEnd(func(x *Exchange, end End) { ran = append(ran, "copy") })
	d.Deliver(&m.Exchange)
	d.Attempt.Broken = true
	m.Leave()
	if !d.Gone() {
		t.Error("the stream can't see the client leave")
	}
	if m.Finish(End{}); !reflect.DeepEqual(ran, []string{"copy", "broken"}) {
		t.Errorf("ran %q", ran)
	}
}

func TestAbandonRunsWhatTheAttemptRegistered(t *testing.T) {
	m := NewMemory("GET", "/")
	var ran []string
	m.AtEnd(func(*Exchange, End) { ran = append(ran, "outer") })
	for range 20 { // more than there are places
		mark := m.Mark()
		m.AtEnd(func(_ *Exchange, end End) { ran = append(ran, "inner") })
		m.Response.SetStatus(503)
		m.Response.SetStream(io.NopCloser(strings.NewReader("x")), 1)
		m.Attempt.Broken = true
		m.Abandon(mark, End{Status: 503})
	}
	if len(ran) != 20 || m.Sent.Streaming() || m.Sent.Status() != 200 || m.Attempt.Broken {
		t.Errorf("ran %q", ran)
	}
	if m.Finish(End{}); len(ran) != 21 {
		t.Errorf("ran %q", ran)
	}
}
