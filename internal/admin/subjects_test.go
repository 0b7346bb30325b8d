package admin

import (
	"bytes"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/oncegate/oncegate/internal/dedup"
	"github.com/oncegate/oncegate/internal/pipeline"
)

type erased struct {
	Receipt  string
	Subject  string
	Records  int
	Answers  int
	InFlight int `json:"in_flight"`
	At       time.Time
}

func (r *rig) erase(subject string) (e erased) {
	r.t.Helper()
	r.asks(200, &e, "DELETE", "/api/v1/subjects/"+url.PathEscape(subject), "")
	return e
}

func TestEraseSubject(t *testing.T) {
	r := newRig(t, rigRoutes)
	const sub = "auth0|a/b ä@x.test"
	r.wrote(0, "main", sub, "/w/a", "k1")
	r.wrote(0, "other", sub, "/w/a", "k2")
	r.wrote(0, "", sub, "/open/a", "k3")
	r.wrote(pipeline.OutcomeUnknown, "main", sub, "/w/die", "k4")
	r.wrote(0, "main", "bob", "/w/a", "k1")
	ended := make(chan pipeline.Refusal, 1)
	go func() { _, kind := r.write("main", sub, "/w/wait", "k5"); ended <- kind }()
	<-r.arrived

	e := r.erase(sub)
	if e.Subject != sub || e.Records != 5 || e.Answers != 3 || e.InFlight != 1 || len(e.Receipt) != 22 || time.Since(e.At) > time.Minute {
		t.Errorf("%+v", e)
	}
	for i, key := range []string{"k1", "k2"} {
		m := r.wrote(pipeline.ResultUnavailable, []string{"main", "other"}[i], sub, "/w/a", key)
		if m.Problem.OriginalStatus != 201 || m.Problem.Location != "" || m.Problem.Executed != pipeline.ExecutedYes {
			t.Errorf("%+v", m.Problem)
		}
	}
	r.wrote(pipeline.ResultUnavailable, "", sub, "/open/a", "k3")
	r.wrote(pipeline.OutcomeUnknown, "main", sub, "/w/die", "k4")
	if m := r.wrote(0, "main", "bob", "/w/a", "k1"); m.Sent.Header("Idempotent-Replayed") == nil {
		t.Error("another's answer went, too")
	}
	close(r.release)
	if kind := <-ended; kind != 0 {
		t.Error(kind)
	}
	if again := r.erase(sub); again.Records != 5 || again.Answers != 1 || again.InFlight != 0 || again.Receipt == e.Receipt {
		t.Errorf("%+v", again)
	}
	if nobody := r.erase("nobody"); nobody.Records != 0 || nobody.Receipt == "" {
		t.Errorf("%+v", nobody)
	}
	log := r.log.String()
	if strings.Contains(log, "auth0") || strings.Contains(log, "x.test") || !strings.Contains(log, `"msg":"admin change","change":"erase subject","by":"0.0.0.0:0","ok":true,"receipt":"`+e.Receipt+`","records":5,"answers":3,"in_flight":1`) {
		t.Error(log)
	}
}

func TestEraseRefusals(t *testing.T) {
	r := newRig(t, rigRoutes)
	r.wrote(0, "main", "alice", "/w/a", "k")
	r.refuses(404, "not-found", "DELETE", "/api/v1/subjects/", "")
	r.refuses(404, "not-found", "DELETE", "/api/v1/subjects/a/b", "")
	r.refuses(405, "method-not-allowed", "GET", "/api/v1/subjects/alice", "")
	r.refuses(401, "unauthenticated", "DELETE", "/api/v1/subjects/alice", "", "Authorization", "Bearer "+adminToken+"x")
	r.refuses(403, "forbidden", "DELETE", "/api/v1/subjects/alice", "", "Origin", "https://evil.test")
	if m := r.wrote(0, "main", "alice", "/w/a", "k"); m.Sent.Header("Idempotent-Replayed") == nil {
		t.Error("a refused call erased")
	}
	if strings.Contains(r.log.String(), "admin change") {
		t.Error(r.log)
	}
}

// Where no route protects writes there is nothing to erase, and that is an answer, not an outage.
func TestEraseWithoutRecords(t *testing.T) {
	r := newRig(t, strings.Replace(rigRoutes[:strings.Index(rigRoutes, "  - { id: open")], "dedup: { key: required, keep: { answer: 1h, key: 2h } }, ", "", 1))
	if e := r.erase("alice"); e.Subject != "alice" || e.Records != 0 || e.Answers != 0 || e.InFlight != 0 || len(e.Receipt) != 22 {
		t.Errorf("%+v", e)
	}
	if log := r.log.String(); !strings.Contains(log, `"change":"erase subject","by":"0.0.0.0:0","ok":true`) {
		t.Error(log)
	}
}

// What an earlier document stored may lie in a store that no route opens: then nobody is told that nothing is there.
func TestEraseInAStoreThatIsShut(t *testing.T) {
	folder := t.TempDir()
	text := fmt.Sprintf("state: { path: %q }\n", folder) + strings.TrimPrefix(strings.Replace(rigRoutes[:strings.Index(rigRoutes, "  - { id: open")], "dedup: { key: required, keep: { answer: 1h, key: 2h } }, ", "", 1), inMemory)
	r := newRig(t, text)
	if e := r.erase("alice"); e.Records != 0 {
		t.Errorf("%+v", e)
	}
	if err := os.Mkdir(filepath.Join(folder, "dedup"), 0o700); err != nil {
		t.Fatal(err)
	}
	r.refuses(503, "store-unavailable", "DELETE", "/api/v1/subjects/alice", "")
}

// When the store is down, all three say so, and nothing of the question stands in the log.
func TestStoreDown(t *testing.T) {
	r := newRig(t, fmt.Sprintf("state: { path: %q }\n", t.TempDir())+strings.TrimPrefix(rigRoutes, inMemory))
	r.wrote(pipeline.OutcomeUnknown, "main", "alice", "/w/die", "secret-key")
	ref := r.one("?scope=up&client=alice&key=secret-key").Ref
	if err := r.gateway.State().Close(); err != nil {
		t.Fatal(err)
	}
	for _, ask := range [][3]string{{"GET", "/api/v1/executions", ""}, {"GET", "/api/v1/executions?scope=up&client=alice&key=secret-key", ""},
		{"POST", "/api/v1/executions/" + ref + "/settle", `{"outcome":"executed"}`}, {"DELETE", "/api/v1/subjects/alice", ""}} {
		if got := r.refuses(503, "store-unavailable", ask[0], ask[1], ask[2]); got.Header.Get("Retry-After") != "1" || strings.Contains(got.body, dedup.ErrRefused.Error()) {
			t.Errorf("%v %s", got.Header, got.body)
		}
	}
	if log := r.log.Bytes(); bytes.Contains(log, []byte("alice")) || bytes.Contains(log, []byte("secret-key")) || !bytes.Contains(log, []byte(`"change":"erase subject","by":"0.0.0.0:0","ok":false`)) {
		t.Errorf("%s", log)
	}
}
