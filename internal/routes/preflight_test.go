package routes

import (
	"strings"
	"testing"

	"github.com/oncegate/oncegate/internal/pipeline"
)

func TestPreflightMeetsTheRouteOfTheAskedMethod(t *testing.T) {
	match := func(path string, methods ...string) Match { return Match{Path: path, Methods: methods} }
	version := match("/v", "POST")
	version.Headers = map[string]string{"X-Version": "2"}
	other := match("/v", "POST")
	other.Headers = map[string]string{"X-Version": "2", "Accept": "text/csv"}
	query := match("/q", "GET")
	query.Query = map[string]string{"beta": "1"}
	hosted := match("/a", "GET")
	hosted.Hosts = []string{"b.test"}
	table, conflicts := New([]Rule[string]{
		{"read", match("/a", "GET"), "read"}, {"write", match("/a", "POST", "PUT"), "write"}, {"all", match("/a/**"), "all"},
		{"version", version, "version"}, {"csv", other, "csv"}, {"plain", match("/v", "POST"), "plain"},
		{"query", query, "query"}, {"id", match("/o/{id}", "DELETE"), "id"}, {"hosted", hosted, "hosted"},
	})
	if len(conflicts) > 0 {
		t.Fatal(conflicts)
	}
	for _, c := range []struct{ method, target, names, want string }{
		{"GET", "/a", "", "read"}, {"HEAD", "/a", "", "read"}, {"PUT", "/a", "", "write"}, {"DELETE", "/a", "", "all"}, {"OPTIONS", "/a", "", "all"}, {"get", "/a", "", "all"},
		{"PATCH", "/a/b", "", "all"}, {"GET", "/none", "", ""}, {"GET", "/o/7", "", ""}, {"DELETE", "/o/7", "", "id"},
		{"GET", "http://b.test/a", "", "hosted"}, {"POST", "http://b.test/a", "", "write"},
		{"POST", "/v", "", "plain"}, {"POST", "/v", "x-other", "plain"}, {"POST", "/v", "x-version", "version plain"}, {"POST", "/v", "x-version accept", "csv version plain"},
		{"GET", "/q?beta=1", "", "query"}, {"GET", "/q", "", ""}, {"GET", "/q?beta=2", "beta", ""},
	} {
		r := pipeline.NewMemory("OPTIONS", c.target).WithHeader("Accept", "*/*").Request
		names := func(field string) bool { return strings.Contains(" "+c.names+" ", " "+strings.ToLower(field)+" ") }
		if got := strings.Join(table.Preflight(r, []byte(c.method), names), " "); got != c.want {
			t.Errorf("%s %s (%s): %q, want %q", c.method, c.target, c.names, got, c.want)
		}
	}
}
