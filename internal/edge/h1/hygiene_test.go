package h1

import (
	"context"
	"io"
	"strings"
	"testing"

	"github.com/oncegate/oncegate/internal/pipeline"
)

// smuggled is what must never be served: it stands where a request stood wrongly framed.
const smuggled = "GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n"

// readAll is a handler that reads the body and echoes it.
func readAll(_ context.Context, x *pipeline.Exchange) error {
	if body := x.Request.Body(); body != nil {
		b, err := io.ReadAll(body)
		if err != nil {
			return err
		}
		x.Response.SetBody(b)
	}
	return nil
}

// Every row: what a client sends, what it gets. A refused request also closes the connection, and nothing behind it is served.
func TestHygiene(t *testing.T) {
	const (
		host = "Host: a\r\n"
		post = "POST / HTTP/1.1\r\n" + host
		get  = "GET / HTTP/1.1\r\n" + host
		te   = "Transfer-Encoding: chunked\r\n"
	)
	bad := pipeline.BadRequest
	for name, c := range map[string]struct {
		in   string
		want pipeline.Refusal
	}{
		"length and chunked":           {post + "Content-Length: 4\r\n" + te + "\r\n0\r\n\r\n", bad},
		"chunked and length":           {post + te + "Content-Length: 4\r\n\r\n0\r\n\r\n", bad},
		"xchunked":                     {post + "Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n", bad},
		"chunked, identity":            {post + "Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n", bad},
		"gzip, chunked":                {post + "Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", bad},
		"identity and length":          {post + "Transfer-Encoding: identity\r\nContent-Length: 1\r\n\r\nx", bad},
		"chunked twice":                {post + te + te + "\r\n0\r\n\r\n", bad},
		"chunked in 1.0":               {"POST / HTTP/1.0\r\n" + host + te + "\r\n0\r\n\r\n", bad},
		"vertical tab before chunked":  {post + "Transfer-Encoding: \vchunked\r\n\r\n0\r\n\r\n", bad},
		"blank before colon":           {post + "Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n", bad},
		"two equal lengths":            {post + "Content-Length: 1\r\nContent-Length: 1\r\n\r\nx", bad},
		"two lengths":                  {post + "Content-Length: 3\r\nContent-Length: 4\r\n\r\nabcd", bad},
		"length list":                  {post + "Content-Length: 1, 1\r\n\r\nx", bad},
		"length with sign":             {post + "Content-Length: +1\r\n\r\nx", bad},
		"length too large":             {post + "Content-Length: 99999999999999999999\r\n\r\nx", bad},
		"LF in chunk extension":        {post + te + "\r\n5;a\nb\r\nhello\r\n0\r\n\r\n", bad},
		"bare LF after chunk size":     {post + te + "\r\n5\nhello\r\n0\r\n\r\n", bad},
		"0x chunk size":                {post + te + "\r\n0x3\r\nabc\r\n0\r\n\r\n", bad},
		"blank after chunk size":       {post + te + "\r\n5 \r\nhello\r\n0\r\n\r\n", bad},
		"chunk too long":               {post + te + "\r\n3\r\nhello\r\n0\r\n\r\n", bad},
		"authorization in trailer":     {post + te + "\r\n0\r\nAuthorization: x\r\n\r\n", bad},
		"folded":                       {get + "A: b\r\n c\r\n\r\n", bad},
		"folded transfer encoding":     {post + "Transfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n", bad},
		"bare LF on one line":          {get + "A: b\nC: d\r\n\r\n", bad},
		"bare LF at the end":           {get + "A: b\n\r\n", bad},
		"bare CR in value":             {get + "A: b\rc\r\n\r\n", bad},
		"NUL in value":                 {get + "A: b\x00c\r\n\r\n", bad},
		"control in name":              {get + "A\x01: b\r\n\r\n", bad},
		"empty name":                   {get + ": b\r\n\r\n", bad},
		"blank in name":                {get + "X Y: b\r\n\r\n", bad},
		"no host":                      {"GET / HTTP/1.1\r\nA: b\r\n\r\n", bad},
		"no fields":                    {"GET / HTTP/1.1\r\n\r\n", bad},
		"two hosts":                    {get + "Host: b\r\n\r\n", bad},
		"two equal hosts":              {get + "Host: a\r\n\r\n", bad},
		"host list":                    {"GET / HTTP/1.1\r\nHost: a, b\r\n\r\n", bad},
		"host with path":               {"GET / HTTP/1.1\r\nHost: a/b?c\r\n\r\n", bad},
		"host with user":               {"GET / HTTP/1.1\r\nHost: u@evil\r\n\r\n", bad},
		"absolute form":                {"GET http://b/ HTTP/1.1\r\n" + host + "\r\n", bad},
		"connect":                      {"CONNECT a:443 HTTP/1.1\r\n" + host + "\r\n", pipeline.MethodNotAllowed},
		"trace":                        {"TRACE / HTTP/1.1\r\n" + host + "\r\n", pipeline.MethodNotAllowed},
		"options *":                    {"OPTIONS * HTTP/1.1\r\n" + host + "\r\n", bad},
		"expectation":                  {post + "Expect: other\r\nContent-Length: 1\r\n\r\nx", pipeline.ExpectationFailed},
		"fragment":                     {"GET /a#b HTTP/1.1\r\n" + host + "\r\n", bad},
		"encoded NUL":                  {"GET /%00 HTTP/1.1\r\n" + host + "\r\n", bad},
		"encoded CRLF":                 {"GET /%0d%0a HTTP/1.1\r\n" + host + "\r\n", bad},
		"encoded slash":                {"GET /a%2fb HTTP/1.1\r\n" + host + "\r\n", bad},
		"encoded backslash":            {"GET /a%5cb HTTP/1.1\r\n" + host + "\r\n", bad},
		"broken escape":                {"GET /%zz HTTP/1.1\r\n" + host + "\r\n", bad},
		"raw bytes":                    {"GET /\xff HTTP/1.1\r\n" + host + "\r\n", bad},
		"dots with parameter":          {"GET /a/..;/b HTTP/1.1\r\n" + host + "\r\n", bad},
		"dots":                         {"GET /a/../b HTTP/1.1\r\n" + host + "\r\n", bad},
		"double slash":                 {"GET //a HTTP/1.1\r\n" + host + "\r\n", bad},
		"empty path":                   {"GET ?a HTTP/1.1\r\n" + host + "\r\n", bad},
		"two authorizations":           {get + "Authorization: a\r\nAuthorization: b\r\n\r\n", bad},
		"version 2.0":                  {"GET / HTTP/2.0\r\n" + host + "\r\n", pipeline.VersionNotSupported},
		"version 1.2":                  {"GET / HTTP/1.2\r\n" + host + "\r\n", pipeline.VersionNotSupported},
		"version x":                    {"GET / XTTP/1.1\r\n" + host + "\r\n", bad},
		"no version":                   {"GET /\r\n" + host + "\r\n", bad},
		"h2 preface":                   {"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", bad},
		"method with blank":            {" GET / HTTP/1.1\r\n" + host + "\r\n", bad},
		"many fields":                  {get + strings.Repeat("A: b\r\n", 20) + "\r\n", pipeline.HeaderTooLarge},
		"long head":                    {get + "A: " + strings.Repeat("x", 9<<10) + "\r\n\r\n", pipeline.HeaderTooLarge},
		"long target":                  {"GET /" + strings.Repeat("x", 9<<10) + " HTTP/1.1\r\n" + host + "\r\n", pipeline.HeaderTooLarge},
		"sized body over the limit":    {post + "Content-Length: 1048577\r\n\r\nx", pipeline.TooLarge},
		"LF alone everywhere":          {"GET / HTTP/1.1\nHost: a\n\n", bad},
		"LF alone on the first line":   {"GET / HTTP/1.1\nHost: a\r\n\r\n", bad},
		"LF first, then LF alone":      {"\nGET / HTTP/1.1\nHost: a\r\n\r\n", bad},
		"TLS on a plain port":          {"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", bad},
		"version with a blank":         {"GET / HTTP/1.1 \r\n" + host + "\r\n", bad},
		"version 1.10":                 {"GET / HTTP/1.10\r\n" + host + "\r\n", pipeline.VersionNotSupported},
		"two spaces in the first line": {"GET /  HTTP/1.1\r\n" + host + "\r\n", bad},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := serve(t, config(), func(ctx context.Context, x *pipeline.Exchange) error {
				if string(x.Request.Path()) == "/smuggled" {
					t.Error("the smuggled request was served")
				}
				return readAll(ctx, x)
			})
			conn := s.dial()
			_, _ = io.WriteString(conn, c.in+smuggled) // may fail when the answer is early
			a := conn.answer("GET")
			if a.problem(t, c.want); !a.Close {
				t.Error("the connection must close")
			}
			if err := conn.closed(); err != nil {
				t.Errorf("after the answer: %v", err)
			}
		})
	}
}

// A refusal that leaves the body unread must not have it served as a request (P1), nor the connection lost when it is short.
func TestUnreadBodyIsNeverARequest(t *testing.T) {
	s := serve(t, config(), func(_ context.Context, x *pipeline.Exchange) error {
		if string(x.Request.Path()) == "/smuggled" {
			t.Error("the body was served as a request")
		}
		return pipeline.Unauthenticated
	})
	if len(smuggled) != 0x23 {
		t.Fatal(len(smuggled))
	}
	for name, c := range map[string]struct {
		head, body string
		kept       bool
	}{
		"short":            {"Content-Length: 35\r\n", smuggled, true},
		"within the limit": {"Content-Length: 60000\r\n", smuggled + strings.Repeat("x", 60000-len(smuggled)), true},
		"long":             {"Content-Length: 500000\r\n", strings.Repeat(smuggled, 500000/len(smuggled)+1)[:500000], false},
		"chunked at hand":  {"Transfer-Encoding: chunked\r\n", "23\r\n" + smuggled + "\r\n0\r\n\r\n", true},
		"chunked to come":  {"Transfer-Encoding: chunked\r\n", "23\r\n" + smuggled + "\r\n", false},
	} {
		conn := s.dial()
		conn.send("POST / HTTP/1.1\r\nHost: a\r\n" + c.head + "\r\n" + c.body)
		a := conn.answer("POST")
		a.problem(t, pipeline.Unauthenticated)
		if a.Close == c.kept {
			t.Errorf("%s: Close %v", name, a.Close)
		}
		if c.kept {
			conn.get("/next").problem(t, pipeline.Unauthenticated)
		} else if err := conn.closed(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// A client that sends a large body must read the refusal, not a reset (fasthttp closes with unread input).
func TestRefusalReachesASendingClient(t *testing.T) {
	cfg := config()
	cfg.Limits.Body = 1000
	s := serve(t, cfg, readAll)
	for _, head := range []string{"", "Broken Name: x\r\n"} {
		for range 5 {
			conn := s.dial()
			conn.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4000000\r\n" + head + "\r\n")
			sent := make(chan error, 1)
			go func() { _, err := io.WriteString(conn, strings.Repeat("x", 4000000)); sent <- err }()
			if err := <-sent; err != nil { // before it reads anything
				t.Errorf("%q: sending: %v", head, err)
			}
			want := pipeline.TooLarge
			if head != "" {
				want = pipeline.BadRequest
			}
			conn.answer("POST").problem(t, want)
		}
	}
}
