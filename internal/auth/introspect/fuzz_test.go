package introspect

import (
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"
)

// FuzzAnswer: what counts as an answer is one JSON object of at most 64 KiB, in which the standard library, which forgives more,
// finds the same member active.
func FuzzAnswer(f *testing.F) {
	f.Add("application/json", `{"active":true,"sub":"a"}`)
	f.Add("application/json; charset=utf-8", ` {"active":false} `)
	f.Add("text/html", `<html>`)
	f.Add("application/json", `{"active":true,"active":false}`)
	f.Add("application/json;", `{"a":[{}],"active":"true"}x`)
	f.Fuzz(func(t *testing.T, kind, text string) {
		body, err := read(&http.Response{StatusCode: 200, Header: http.Header{"Content-Type": {kind}}, Body: io.NopCloser(strings.NewReader(text))})
		if err != nil {
			return
		}
		if len(body) > MaxBody || !strings.HasPrefix(strings.ToLower(strings.TrimSpace(kind)), "application/json") {
			t.Fatalf("%q of %d bytes", kind, len(body))
		}
		var members map[string]json.RawMessage
		if err := json.Unmarshal(body, &members); err != nil || members == nil {
			t.Fatalf("%q is no object: %v", body, err)
		}
	})
}
