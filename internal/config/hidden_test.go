package config

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
)

// What a file holds is a secret, whatever key it stands at: it is printed nowhere, and a change of it is told.
func TestValuesFromFilesAreHidden(t *testing.T) {
	folder := t.TempDir()
	file := func(name, value string) string {
		t.Helper()
		path := filepath.Join(folder, name)
		if err := os.WriteFile(path, []byte(value+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		return "${file:" + path + "}"
	}
	long, next, short := file("long", "partner-key-0123456789"), file("next", "partner-key-9876543210"), file("short", "k7xq")
	with := func(key, bearer string) *Document {
		t.Helper()
		return parseGood(t, change(t, base(t), "    auth: none\n", fmt.Sprintf(
			"    auth: none\n    rewrite: { request_headers: { set: { X-Api-Key: %q, X-Both: %q } } }\n    fallback: [{ on: [open], respond: { body: %q } }]\n", key, bearer, "key="+key))).Document
	}
	doc := with(long, "Bearer "+short)
	shown := string(Print(doc))
	mustNotContain(t, shown, "partner-key", "k7xq")
	mustContain(t, shown, `X-Api-Key: "[redacted]"`, `X-Both: "[redacted]"`, `body: "[redacted]"`, "read_timeout: 10s", "path: /open")
	if doc.Routes[1].Rewrite.Request.Set["X-Both"] != "Bearer k7xq" {
		t.Errorf("%q", doc.Routes[1].Rewrite.Request.Set)
	}
	const at = "routes.open.rewrite.request_headers.set."
	for _, c := range []struct {
		old, next *Document
		want      string
	}{
		{doc, with(long, "Bearer "+short), "[]"},
		{doc, with(next, "Bearer "+short), "[" + at + "X-Api-Key: changed routes.open.fallback[0].respond.body: changed]"},
		{doc, with(long, "Bearer in-clear"), "[" + at + `X-Both: "[redacted]" -> "Bearer in-clear"]`},
		{with("${ADMIN_TOKEN}", "x"), with("${MANY}", "x"), "[" + at + "X-Api-Key: admin-token-0123456789-0123456789 -> many routes.open.fallback[0].respond.body: key=admin-token-0123456789-0123456789 -> key=many]"},
	} {
		if got := fmt.Sprint(Diff(c.old, c.next)); got != c.want {
			t.Errorf("got  %s\nwant %s", got, c.want)
		}
	}
}
