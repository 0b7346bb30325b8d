package h1

import (
	"context"
	"strings"
	"testing"

	"github.com/oncegate/oncegate/internal/pipeline"
	"github.com/oncegate/oncegate/internal/wire"
)

const splicedHead = "HTTP/1.1 201 Made\r\nServer: up\r\nX-Request-Id: theirs\r\nContent-Type: text/plain\r\nX-Empty:\r\nSet-Cookie: a=1\r\nset-cookie: b=2\r\nContent-Length: 5\r\n"

// spliced answers as an upstream does whose answer is whole, and then has f look at it or change it.
func spliced(t *testing.T, f func(r pipeline.Response)) handle {
	return func(_ context.Context, x *pipeline.Exchange) error {
		r := x.Response.(*response)
		if !r.Splice(201, []byte(splicedHead), []byte("hello")) {
			x.Response.SetBody([]byte("not spliced"))
			return nil
		}
		if f != nil {
			f(r)
		}
		return nil
	}
}

func TestSplicedAnswerGoesOnAsItCame(t *testing.T) {
	c := serve(t, config(), spliced(t, nil)).dial()
	for range 3 {
		a := c.get("/")
		a.is(t, 201, "hello")
		if a.Status != "201 Made" || a.Header.Get("Server") != "up" || len(a.Header["Set-Cookie"]) != 2 || a.Header.Get("Date") == "" {
			t.Errorf("%s %v", a.Status, a.Header)
		}
		if id := a.Header["X-Request-Id"]; len(id) != 1 || id[0] == "theirs" || id[0] == "" {
			t.Errorf("X-Request-Id %v", id)
		}
	}
	a := c.send("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").answer("GET")
	a.is(t, 201, "hello")
	if !a.Close {
		t.Error("nothing says that the connection closes")
	}
	if err := c.closed(); err != nil {
		t.Error(err)
	}
}

// Whatever a layer does with it, a client sees what it would see of an answer that was given field by field.
func TestLayersChangeASplicedAnswer(t *testing.T) {
	for name, c := range map[string]struct {
		change func(r pipeline.Response)
		status int
		body   string
		field  string
		want   string
	}{
		"add":             {func(r pipeline.Response) { r.Add("X-New", []byte("1")) }, 201, "hello", "X-New", "1"},
		"set anew":        {func(r pipeline.Response) { r.Set("X-New", []byte("1")) }, 201, "hello", "X-New", "1"},
		"set twice":       {func(r pipeline.Response) { r.Set("X-New", []byte("1")); r.Set("x-new", []byte("2")) }, 201, "hello", "X-New", "2"},
		"set over theirs": {func(r pipeline.Response) { r.Set("server", []byte("x")) }, 201, "hello", "Server", "x"},
		"line break":      {func(r pipeline.Response) { r.Set("X-New", []byte("1\r\nX-Evil: 2")) }, 201, "hello", "X-Evil", ""},
		"length":          {func(r pipeline.Response) { r.Set("Content-Length", []byte("2")) }, 201, "hello", "Content-Length", "5"},
		"type":            {func(r pipeline.Response) { r.Set("Content-Type", []byte("a/b")) }, 201, "hello", "Content-Type", "a/b"},
		"date":            {func(r pipeline.Response) { r.Set("Date", []byte("Mon, 23 Nov 2026 06:00:00 GMT")) }, 201, "hello", "Date", "Mon, 23 Nov 2026 06:00:00 GMT"},
		"delete":          {func(r pipeline.Response) { r.Del("SERVER") }, 201, "hello", "Server", ""},
		"delete nothing":  {func(r pipeline.Response) { r.Del("X-None") }, 201, "hello", "Server", "up"},
		"status":          {func(r pipeline.Response) { r.SetStatus(203) }, 203, "hello", "Server", "up"},
		"body":            {func(r pipeline.Response) { r.SetBody([]byte("other")) }, 201, "other", "Server", "up"},
		"too much":        {func(r pipeline.Response) { r.Add("X-Long", []byte(strings.Repeat("x", 2000))) }, 201, "hello", "Server", "up"},
		"reset":           {func(r pipeline.Response) { r.Reset(); r.SetBody([]byte("new")) }, 200, "new", "Server", ""},
	} {
		t.Run(name, func(t *testing.T) {
			client := serve(t, config(), spliced(t, c.change)).dial()
			for range 2 {
				a := client.get("/")
				a.is(t, c.status, c.body)
				if got := a.Header.Get(c.field); got != c.want {
					t.Errorf("%s: %q, want %q", c.field, got, c.want)
				}
			}
		})
	}
}

func TestLookingAtASplicedAnswer(t *testing.T) {
	serve(t, config(), spliced(t, func(r pipeline.Response) {
		var all []string
		r.Add("X-New", []byte("1"))
		r.EachField(func(name, value []byte) { all = append(all, string(name)+"="+string(value)) })
		if got := strings.Join(all, " "); got != "Server=up Content-Type=text/plain X-Empty= Set-Cookie=a=1 set-cookie=b=2 Content-Length=5 X-New=1" {
			t.Error(got)
		}
		if b, ok, err := r.Buffer(5); string(b) != "hello" || !ok || err != nil {
			t.Errorf("%q %v %v", b, ok, err)
		}
		if _, ok, _ := r.Buffer(4); ok {
			t.Error("five bytes are at most four")
		}
		if r.Status() != 201 || string(r.Header("content-TYPE")) != "text/plain" || r.Header("X-Empty") == nil || r.Header("X-None") != nil || string(r.Header("x-new")) != "1" {
			t.Error("status or a field")
		}
		for name, want := range map[string]bool{"set-cookie": true, "x_empty": true, "x-new": true, "x-none": false, "set": false, "http/1.1 201 made": false} {
			if r.HasAny(wire.NewNames("other", name)) != want {
				t.Errorf("HasAny %s: %v", name, !want)
			}
		}
		if r.SetStatus(201); !r.HasAny(wire.NewNames("x-new")) || r.HasAny(wire.NewNames("x-none")) { // in fasthttp's form
			t.Error("HasAny of what was taken apart")
		}
	})).dial().get("/").is(t, 201, "hello")
}

// A refusal after the answer was there is no answer of the upstream; HEAD and HTTP/1.0 take the other way.
func TestSplicedAnswerIsGivenUp(t *testing.T) {
	c := serve(t, config(), func(_ context.Context, x *pipeline.Exchange) error {
		x.Response.(*response).Splice(201, []byte(splicedHead), []byte("hello"))
		x.Response.Reset()
		return pipeline.RateLimited
	}).dial()
	c.get("/").problem(t, pipeline.RateLimited)
	c = serve(t, config(), spliced(t, nil)).dial()
	c.send("HEAD / HTTP/1.1\r\nHost: a\r\n\r\n").answer("HEAD").is(t, 200, "")
	c.get("/").is(t, 201, "hello")
	c.send("GET / HTTP/1.0\r\nHost: a\r\n\r\n").answer("GET").is(t, 200, "not spliced")
	for _, head := range []string{
		"HTTP/1.1 200\r\nContent-Length: 5\r\n",
		"HTTP/1.1 200 OK\r\nX: " + strings.Repeat("x", spliceHead) + "\r\nContent-Length: 5\r\n",
		"HTTP/1.1 200 OK\r\n" + strings.Repeat("A: b\r\n", spliceLines) + "Content-Length: 5\r\n",
	} {
		serve(t, config(), func(_ context.Context, x *pipeline.Exchange) error {
			if x.Response.(*response).Splice(200, []byte(head), []byte("hello")) {
				t.Errorf("taken: %.20q", head)
			}
			return nil
		}).dial().get("/").is(t, 200, "")
	}
}
