package answer

import (
	"bytes"
	"errors"
	"strings"
	"testing"
)

func encode(status int, body string, fields ...string) []byte {
	var b Builder
	b.Begin(status)
	for i := 0; i < len(fields); i += 2 {
		b.Field([]byte(fields[i]), []byte(fields[i+1]))
	}
	return b.End([]byte(body))
}

func text(a Answer) string {
	var s strings.Builder
	a.Each(func(name, value []byte) { s.WriteString(string(name) + "=" + string(value) + ";") })
	return s.String() + string(a.Body)
}

func TestRoundTrip(t *testing.T) {
	for _, c := range []struct {
		encoded []byte
		want    string
	}{
		{encode(201, `{"id":1}`, "Content-Type", "application/json", "Link", "<a>", "Link", "<b>"), `Content-Type=application/json;Link=<a>;Link=<b>;{"id":1}`},
		{encode(204, ""), ""},
		{encode(500, "\x00\xff", "ETag", ""), "ETag=;\x00\xff"},
	} {
		a, err := Decode(c.encoded)
		if err != nil || text(a) != c.want {
			t.Errorf("%q, %v; want %q", text(a), err, c.want)
		}
	}
	if a, _ := Decode(encode(201, "")); a.Status != 201 {
		t.Errorf("status %d", a.Status)
	}
}

func TestBuilderIsReusable(t *testing.T) {
	var b Builder
	b.Begin(200)
	b.Field([]byte("Location"), []byte("/first"))
	b.End([]byte("a long first body"))
	b.Begin(404)
	if a, err := Decode(b.End([]byte("x"))); err != nil || a.Status != 404 || text(a) != "x" {
		t.Errorf("%+v, %v", a, err)
	}
}

func TestDeniedFieldsAreNeverStored(t *testing.T) {
	for _, name := range []string{
		"Set-Cookie", "set-cookie", "WWW-Authenticate", "Proxy-Authenticate", "Authorization", "Connection", "Keep-Alive", "Transfer-Encoding",
		"Trailer", "Upgrade", "TE", "Content-Length", "Date", "Retry-After", "Access-Control-Allow-Origin", "RateLimit", "RateLimit-Policy",
		"X-RateLimit-Remaining", "traceparent", "Tracestate", "X-Request-Id", "Server-Timing", "X-B3-TraceId", "Idempotency-Status", "Grpc-Status",
	} {
		if !Denied([]byte(name)) {
			t.Errorf("%s is not denied", name)
		}
		if Kept(name).Has([]byte(name)) {
			t.Errorf("%s is kept when it is asked for", name)
		}
		if a, err := Decode(encode(200, "", name, "secret")); err != nil || text(a) != "" {
			t.Errorf("%s was stored: %q, %v", name, text(a), err)
		}
	}
	for _, name := range []string{"Content-Type", "Location", "X-Order", "Rate", "X-Access-Control", strings.Repeat("a", 300)} {
		if Denied([]byte(name)) {
			t.Errorf("%s is denied", name)
		}
	}
}

func TestKept(t *testing.T) {
	h := Kept("X-Order", "X-Plan")
	for _, name := range []string{"content-type", "Content-Language", "CONTENT-ENCODING", "Location", "ETag", "Last-Modified", "Link", "x-order", "X-PLAN"} {
		if !h.Has([]byte(name)) {
			t.Errorf("%s is not kept", name)
		}
	}
	for _, name := range []string{"Server", "Cache-Control", "Vary", "", strings.Repeat("a", 300)} {
		if h.Has([]byte(name)) {
			t.Errorf("%s is kept", name)
		}
	}
	if n := testing.AllocsPerRun(100, func() { h.Has([]byte("Content-Type")); Denied([]byte("Content-Type")) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestDecodeRefusesWhatIsBroken(t *testing.T) {
	whole := encode(201, "", "Content-Type", "text/plain", "Location", "/a")
	for i := range whole {
		if _, err := Decode(whole[:i]); !errors.Is(err, ErrCorrupt) {
			t.Errorf("cut at %d: %v", i, err)
		}
	}
	for name, b := range map[string][]byte{
		"version":       append([]byte{3}, whole[1:]...),
		"status":        {version, 0, 100, 0, 0},
		"too few":       {version, 0, 200, 0, 1},
		"denied field":  append([]byte{version, 0, 200, 0, 1, 0, 4}, "Date\x00\x00\x00\x00"...),
		"nameless":      {version, 0, 200, 0, 1, 0, 0, 0, 0, 0, 0},
		"endless value": append([]byte{version, 0, 200, 0, 1, 0, 1, 'a'}, 0xff, 0xff, 0xff, 0xff),
	} {
		if _, err := Decode(b); !errors.Is(err, ErrCorrupt) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// The gRPC status of an answer is a part of its own, and nothing else gets into it.
func TestTrailers(t *testing.T) {
	var b Builder
	b.Begin(200)
	b.Field([]byte("Content-Type"), []byte("application/grpc"))
	for _, name := range []string{"Grpc-Status", "grpc-message", "Grpc-Status-Details-Bin", "Set-Cookie", "X-Cost", "Trailer", ""} {
		b.Trailer([]byte(name), []byte("v"))
	}
	b.Field([]byte("Location"), []byte("/late"))
	whole := bytes.Clone(b.End([]byte("body")))
	a, err := Decode(whole)
	if err != nil || text(a) != "Content-Type=application/grpc;body" || trailers(a) != "Grpc-Status=v;grpc-message=v;Grpc-Status-Details-Bin=v;" {
		t.Fatalf("%q, %q, %v", text(a), trailers(a), err)
	}
	for i := range len(whole) - len("body") {
		if _, err := Decode(whole[:i]); !errors.Is(err, ErrCorrupt) {
			t.Errorf("cut at %d: %v", i, err)
		}
	}
	if _, err := Decode(bytes.Replace(whole, []byte("grpc-message"), []byte("x-mess-cooki"), 1)); !errors.Is(err, ErrCorrupt) {
		t.Errorf("another trailer: %v", err)
	}
	b.Begin(200)
	for range 300 {
		b.Trailer([]byte("Grpc-Message"), []byte("v"))
	}
	if a, err := Decode(b.End(nil)); err != nil || len(trailers(a)) != mostTrailers*len("Grpc-Message=v;") {
		t.Errorf("too many: %q, %v", trailers(a), err)
	}
}

// What earlier versions stored is read as before, and what has no gRPC status is written as before.
func TestFirstVersion(t *testing.T) {
	const first = "\x01\x00\xc9\x00\x01\x00\x08Location\x00\x00\x00\x02/abody"
	if a, err := Decode([]byte(first)); err != nil || a.Status != 201 || text(a) != "Location=/a;body" || trailers(a) != "" {
		t.Errorf("%q, %v", text(a), err)
	}
	if got := encode(201, "body", "Location", "/a"); string(got) != first {
		t.Errorf("%q", got)
	}
}

func trailers(a Answer) string {
	var s strings.Builder
	a.EachTrailer(func(name, value []byte) { s.WriteString(string(name) + "=" + string(value) + ";") })
	return s.String()
}

func FuzzAnswer(f *testing.F) {
	f.Add(encode(201, "body", "Content-Type", "a", "Location", "/b"))
	f.Add(encode(204, ""))
	var call Builder
	call.Begin(200)
	call.Trailer([]byte("grpc-status"), []byte("0"))
	f.Add(bytes.Clone(call.End([]byte("body"))))
	f.Fuzz(func(t *testing.T, b []byte) {
		a, err := Decode(b)
		if err != nil {
			return
		}
		var again Builder
		again.Begin(a.Status)
		a.Each(again.Field)
		a.EachTrailer(again.Trailer)
		if out := again.End(a.Body); !bytes.Equal(out, b) {
			t.Fatalf("%x is read and written as %x", b, out)
		}
	})
}
