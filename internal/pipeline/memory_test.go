package pipeline

import (
	"errors"
	"io"
	"strings"
	"testing"
)

func TestMemoryParts(t *testing.T) {
	m := NewMemory("POST", "https://Api.Example.com:8443/a/b?x=1&y").
		WithHeader("A", "1").WithHeader("b", "2").WithHeader("a", "3")
	got := strings.Join([]string{string(m.Request.Method()), string(m.Request.Host()), string(m.Request.Authority()),
		string(m.Request.Path()), string(m.Request.Query()), string(m.Request.Header("a")), string(m.Request.Header("B"))}, " ")
	if want := "POST api.example.com Api.Example.com:8443 /a/b x=1&y 1 2"; got != want {
		t.Fatalf("got %q\nwant %q", got, want)
	}
	if m.Request.Header("none") != nil {
		t.Error("an absent field must be nil")
	}
}

func TestMemoryQueryTellsBareFromNone(t *testing.T) {
	if q := NewMemory("GET", "/a").Request.Query(); q != nil {
		t.Errorf("without ?: %q", q)
	}
	if q := NewMemory("GET", "/a?").Request.Query(); q == nil || len(q) != 0 {
		t.Errorf("bare ?: %v", q)
	}
}

type onlyName string

func (n onlyName) Has(name []byte) bool { return strings.EqualFold(string(n), string(name)) }

func TestMemoryStripHidesFields(t *testing.T) {
	m := NewMemory("GET", "/").WithHeader("Cookie", "c").WithHeader("A", "1").WithHeader("cookie", "d")
	m.Request.Strip(onlyName("cookie"))
	if m.Request.Header("Cookie") != nil {
		t.Error("a stripped field is still seen")
	}
	var seen []string
	for i := range m.Request.Fields() {
		if name, value := m.Request.Field(i); name != nil {
			seen = append(seen, string(name)+"="+string(value))
		}
	}
	if got := strings.Join(seen, ","); got != "A=1" {
		t.Errorf("fields: %s", got)
	}
}

func TestMemoryRequestBody(t *testing.T) {
	m := NewMemory("POST", "/").WithBody([]byte("hello"))
	if _, whole := m.Request.Buffered(); whole {
		t.Fatal("not buffered yet")
	}
	if _, err := m.Request.Buffer(4); !errors.Is(err, TooLarge) {
		t.Fatalf("above max: %v", err)
	}
	b, err := m.Request.Buffer(5)
	if err != nil || string(b) != "hello" {
		t.Fatalf("%q %v", b, err)
	}
	for range 2 { // from the start again after Buffer
		if b, _ := io.ReadAll(m.Request.Body()); string(b) != "hello" {
			t.Fatalf("%q", b)
		}
	}
}

func TestMemoryRequestLimit(t *testing.T) {
	m := NewMemory("POST", "/").WithChunkedBody([]byte("hello"))
	m.Request.LimitBody(3)
	b, err := io.ReadAll(m.Request.Body())
	if string(b) != "hel" || !errors.Is(err, TooLarge) {
		t.Fatalf("%q %v", b, err)
	}
	if _, err := m.Request.Buffer(100); !errors.Is(err, TooLarge) {
		t.Fatalf("Buffer past the limit: %v", err)
	}
}

func TestMemoryRequestBodyError(t *testing.T) {
	m := NewMemory("POST", "/").WithBody([]byte("ab")).WithBodyError(RequestTimeout)
	if b, err := io.ReadAll(m.Request.Body()); string(b) != "ab" || !errors.Is(err, RequestTimeout) {
		t.Fatalf("%q %v", b, err)
	}
}

func TestMemoryNoBody(t *testing.T) {
	m := NewMemory("GET", "/")
	if m.Request.Body() != nil {
		t.Error("Body must be nil")
	}
	if b, whole := m.Request.Buffered(); b != nil || !whole {
		t.Error("no body is a whole body")
	}
}

type closing struct {
	io.Reader
	closed *int
}

func (c closing) Close() error { *c.closed++; return nil }

func TestMemoryResponseStream(t *testing.T) {
	closed := 0
	stream := func(n int64) *Memory {
		m := NewMemory("GET", "/")
		m.Response.SetStream(closing{strings.NewReader("hello"), &closed}, n)
		return m
	}
	m := stream(-1)
	if _, ok, err := m.Response.Buffer(4); ok || err != nil {
		t.Fatalf("too long a stream: %v %v", ok, err)
	}
	if got := string(m.Sent.Body()); got != "hello" || closed != 1 {
		t.Fatalf("%q, closed %d", got, closed)
	}
	m = stream(5)
	if b, ok, err := m.Response.Buffer(5); !ok || err != nil || string(b) != "hello" || closed != 2 {
		t.Fatalf("%q %v %v, closed %d", b, ok, err, closed)
	}
	m = stream(-1)
	m.Response.Reset()
	if m.Sent.StreamClosed() != 1 || closed != 3 || m.Sent.Resets() != 1 {
		t.Fatal("Reset closes the stream")
	}
}

func TestMemoryResponseFields(t *testing.T) {
	m := NewMemory("GET", "/")
	m.Response.Add("A", []byte("1"))
	m.Response.Add("B", []byte("2"))
	m.Response.Add("a", []byte("3"))
	if got := strings.Join(m.Sent.Values("A"), ","); got != "1,3" {
		t.Errorf("values: %s", got)
	}
	m.Response.Set("A", []byte("4"))
	m.Response.Del("b")
	var all string
	m.Response.EachField(func(name, value []byte) { all += string(name) + "=" + string(value) + ";" })
	if all != "A=4;" {
		t.Errorf("fields: %s", all)
	}
	if !m.Response.HasAny(onlyName("a")) || m.Response.HasAny(onlyName("b")) {
		t.Error("HasAny")
	}
	m.Response.SetStatus(503)
	m.Response.SetBody([]byte("x"))
	if m.Sent.Status() != 503 || string(m.Sent.Body()) != "x" {
		t.Errorf("%d %q", m.Sent.Status(), m.Sent.Body())
	}
}

func TestMemoryLeave(t *testing.T) {
	m := NewMemory("GET", "/")
	if m.Gone() {
		t.Fatal("gone too early")
	}
	m.Leave()
	if !m.Gone() {
		t.Fatal("not gone")
	}
}
