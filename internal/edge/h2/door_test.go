package h2

import (
	"strconv"
	"testing"

	"golang.org/x/net/http2"

	"github.com/oncegate/oncegate/internal/edge"
)

// What is refused at the door has the caller's request id, and 405 says what is allowed (RFC 9110 15.5.6), to calls of gRPC too.
func TestRefusedAtTheDoor(t *testing.T) {
	cfg := config()
	s := start(t, cfg, echo)
	get := func(more ...string) []string { return append(append([]string{}, plain...), more...) }
	many := []string{}
	for i := range cfg.Limits.Headers + 1 {
		many = append(many, "x-"+strconv.Itoa(i), "a")
	}
	trace := []string{":method", "TRACE", ":scheme", "http", ":authority", "a", ":path", "/"}
	for name, c := range map[string]struct {
		fields []string
		want   string
	}{
		"too many":    {get(many...), "431"},
		"bad host":    {[]string{":method", "GET", ":scheme", "http", ":authority", "a b", ":path", "/"}, "400"},
		"two lengths": {get("content-length", "0", "content-length", "0"), "400"},
		"trace":       {trace, "405"},
		"trace, gRPC": {append(append([]string{}, trace...), "content-type", "application/grpc"), "200"},
		"connect":     {[]string{":method", "CONNECT", ":authority", "a:443"}, "405"},
	} {
		for _, ids := range [][]string{{"mine"}, {"mine", "yours"}} {
			fields := c.fields
			for _, id := range ids {
				fields = append(fields, "x-request-id", id)
			}
			w := s.frames()
			if err := w.head(1, true, fields...); err != nil {
				t.Fatal(err)
			}
			said := map[string]string{}
			if err := w.until(func(f http2.Frame) bool {
				head, ok := f.(*http2.MetaHeadersFrame)
				if ok {
					for _, f := range head.Fields {
						said[f.Name] = f.Value
					}
				}
				return ok
			}); err != nil {
				t.Fatal(name, err)
			}
			allow := ""
			if name == "connect" || c.fields[1] == "TRACE" {
				allow = edge.Methods
			}
			if said[":status"] != c.want || (said["x-request-id"] == "mine") != (len(ids) == 1) || said["allow"] != allow {
				t.Errorf("%s, %d ids: %v", name, len(ids), said)
			}
		}
	}
}
