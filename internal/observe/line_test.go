package observe

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/oncegate/oncegate/internal/pipeline"
)

func TestLineGolden(t *testing.T) {
	x, end := fullExchange()
	want := `{"time":"2026-11-23T07:08:09.025Z","level":"INFO","msg":"request","request_id":"req-1","trace_id":"4bf90000000000000000000000000036",` +
		`"route":"orders","method":"POST","path":"/v1/orders","status":201,"kind":"","client":"u1","peer":"[fe80::1]:4711","client_ip":"192.0.2.9",` +
		`"upstream":"orders","target":"127.0.0.1:9001","attempts":2,"duration_ms":15.678,"upstream_ms":12.345,"bytes_in":11,"bytes_out":222,"replayed":false}` + "\n"
	if got := string(appendLine(nil, &x.Exchange, end, "orders")); got != want {
		t.Errorf("got  %swant %s", got, want)
	}
}

func TestLineOfNothing(t *testing.T) {
	x := pipeline.NewMemory("GET", "/")
	x.Exchange.ID, x.Peer, x.ClientIP, x.Start = nil, netip.AddrPort{}, netip.Addr{}, time.Time{}
	got := string(appendLine(nil, &x.Exchange, pipeline.End{Status: 404, Kind: pipeline.NotFound, Err: pipeline.NotFound, At: time.Unix(0, 0)}, ""))
	want := `{"time":"1970-01-01T00:00:00.000Z","level":"INFO","msg":"request","request_id":"","trace_id":"00000000000000000000000000000000",` +
		`"route":"","method":"GET","path":"/","status":404,"kind":"not-found","client":"","peer":"","client_ip":"",` +
		`"upstream":"","target":"","attempts":0,"duration_ms":0.000,"upstream_ms":0.000,"bytes_in":0,"bytes_out":0,"replayed":false}` + "\n"
	if got != want {
		t.Errorf("got  %swant %s", got, want)
	}
}

// A client that was verified and may not (403) is named; nobody is in any other line of a request without one.
func TestLineNamesRefusedClients(t *testing.T) {
	for kind, want := range map[pipeline.Refusal]string{pipeline.Forbidden: "mallory", pipeline.Unauthenticated: "", pipeline.RateLimited: "", 0: ""} {
		for _, client := range []pipeline.Client{{}, {Identity: "main|u1", Subject: "u1", Issuer: "main"}} {
			x, end := fullExchange()
			x.Client, x.Refused, end.Kind = client, "mallory", kind
			wanted := want
			if client.Subject != "" {
				wanted = client.Subject
			}
			if got := string(appendLine(nil, &x.Exchange, end, "orders")); !strings.Contains(got, `"client":"`+wanted+`","peer"`) {
				t.Errorf("%v: %s, want client %q", kind, got, wanted)
			}
		}
	}
}

func TestLineTimes(t *testing.T) {
	for at, want := range map[time.Time]string{
		time.Date(2026, 1, 2, 3, 4, 5, 6_999_999, time.UTC):                      "2026-01-02T03:04:05.006Z",
		time.Date(2026, 12, 31, 23, 59, 59, 1e9-1, time.FixedZone("X", -2*3600)): "2027-01-01T01:59:59.999Z",
	} {
		if got := string(appendTime(nil, at)); got != want {
			t.Errorf("%v: %s, want %s", at, got, want)
		}
	}
	for d, want := range map[time.Duration]string{0: "0.000", 999: "0.000", 1500: "0.001", time.Millisecond: "1.000", 61*time.Second + 7*time.Microsecond: "61000.007", -5: "0.000"} {
		if got := string(appendMillis(nil, d)); got != want {
			t.Errorf("%v: %s, want %s", d, got, want)
		}
	}
}

func TestLineError(t *testing.T) {
	dial := errors.New(`Get "https://user:pw@up.example/v1?token=secret": connect: refused`)
	for _, c := range []struct {
		kind pipeline.Refusal
		err  error
		want string // "" no member
	}{
		{pipeline.UpstreamFailed, fmt.Errorf("%w: %w", pipeline.UpstreamFailed, dial), `upstream-failed: Get "https://[redacted]@up.example/v1?[redacted] connect: refused`},
		{pipeline.Internal, errors.New("boom\n"), "boom\n"},
		{pipeline.UpstreamTimeout, pipeline.UpstreamTimeout, ""},
		{pipeline.Unauthenticated, fmt.Errorf("%w: token secret", pipeline.Unauthenticated), ""},
		{pipeline.BadRequest, errors.New("body secret"), ""},
		{pipeline.Internal, nil, ""},
		{pipeline.StoreUnavailable, errors.New(strings.Repeat("x", 2000)), strings.Repeat("x", maxText)},
	} {
		x, end := fullExchange()
		end.Kind, end.Err = c.kind, c.err
		var line struct{ Error *string }
		raw := appendLine(nil, &x.Exchange, end, "orders")
		if err := json.Unmarshal(raw, &line); err != nil {
			t.Fatalf("%v: %s", err, raw)
		}
		if c.want == "" && line.Error != nil || c.want != "" && (line.Error == nil || *line.Error != c.want) {
			t.Errorf("%v: %s, want error %q", c.kind, raw, c.want)
		}
	}
}

// An answer that began and did not end keeps its status; the kind tells whose fault it was.
func TestLineTellsWhoBrokeOff(t *testing.T) {
	for want, c := range map[string]struct{ aborted, broken bool }{
		`"status":200,"kind":""`:                {false, false},
		`"status":200,"kind":"upstream-failed"`: {true, true},
		`"status":200,"kind":"client-gone"`:     {true, false},
	} {
		x := pipeline.NewMemory("GET", "/")
		x.Attempt.Broken = c.broken
		line := appendLine(nil, &x.Exchange, pipeline.End{Status: 200, Aborted: c.aborted, At: time.Now()}, "orders")
		if !bytes.Contains(line, []byte(want)) {
			t.Errorf("%+v: %s", c, line)
		}
	}
}

func TestLineHoldsNoSecrets(t *testing.T) {
	x, end := fullExchange()
	if line := appendLine(nil, &x.Exchange, end, "orders"); bytes.Contains(line, []byte("secret")) {
		t.Errorf("%s", line)
	}
}

func TestLineCutsPaths(t *testing.T) {
	x := pipeline.NewMemory("GET", "/"+strings.Repeat("a", 5000))
	var line struct{ Path string }
	if err := json.Unmarshal(appendLine(nil, &x.Exchange, pipeline.End{At: time.Now()}, ""), &line); err != nil || len(line.Path) != 512 {
		t.Errorf("%v, %d bytes of path", err, len(line.Path))
	}
}

// fixedRequest gives any bytes, as a hostile client might.
type fixedRequest struct {
	pipeline.Request
	method, path, traceparent []byte
}

func (r fixedRequest) Method() []byte { return r.method }
func (r fixedRequest) Path() []byte   { return r.path }
func (r fixedRequest) Header(name string) []byte {
	if name == "traceparent" {
		return r.traceparent
	}
	return nil
}

func FuzzAccessLine(f *testing.F) {
	f.Add([]byte("GET"), []byte("/a"), []byte("id"), "subject", "boom", "fe80::1%eth0", 200, uint8(0), int64(1e9), int64(5))
	f.Add([]byte("G\nT"), []byte("/\"\\\x00\xff\u2028"), []byte("\x7f"), "</script>", "a?b\n://@", "::1%\"\n", -1, uint8(23), int64(-1), int64(-9))
	f.Fuzz(func(t *testing.T, method, path, id []byte, subject, message, addr string, status int, kind uint8, at, took int64) {
		x := pipeline.NewMemory("GET", "/")
		x.Request = fixedRequest{method: method, path: path}
		x.ID, x.Client.Subject, x.Attempt.Target = id, subject, message
		x.ClientIP, _ = netip.ParseAddr(addr)
		x.Peer = netip.AddrPortFrom(x.ClientIP, 1)
		at %= 250_000_000_000 // seconds: the years that RFC 3339 can say
		x.Start = time.Unix(max(at, -at), 0)
		x.Attempt.Duration = time.Duration(took)
		end := pipeline.End{Status: status, Kind: pipeline.Refusal(kind), Err: errors.New(message), BytesIn: at, At: x.Start.Add(time.Duration(took))}
		line := appendLine(nil, &x.Exchange, end, subject)
		if bytes.Count(line, []byte("\n")) != 1 || line[len(line)-1] != '\n' {
			t.Fatalf("not one line: %q", line)
		}
		var got map[string]any
		if err := json.Unmarshal(line, &got); err != nil {
			t.Fatalf("%v: %q", err, line)
		}
		if n := len(got); n != 21 && n != 22 {
			t.Fatalf("%d members: %q", n, line)
		}
		if _, err := time.Parse(time.RFC3339, got["time"].(string)); err != nil {
			t.Fatal(err)
		}
	})
}
