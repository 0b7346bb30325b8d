package admin

import (
	"crypto/sha256"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/oncegate/oncegate/internal/auth"
	"github.com/oncegate/oncegate/internal/pipeline"
)

const limited = inMemory + `rate_limits:
  who: { rate: 1/1h, burst: 5, by: client, plans: { claim: plan, gold: { rate: 1/1h, burst: 50 }, free: unlimited } }
  several: { rate: 1/1h, burst: 5, by: [client, "header:X-Key", route] }
  two: { rate: 1/1h, burst: 5, by: ["header:A", "header:B"] }
  day: { quota: 100/d, by: ip, rolling: true }
  seats: { in_flight: 2, by: ip }
  "odd/näme": { rate: 1/1h, burst: 5, by: all }
upstreams: { up: { targets: [@UP@] } }
defaults: { auth: { issuers: [main, other] } }
routes:
  - { id: w, match: { path: /w/** }, rate_limits: [who, several], to: up }
  - { id: o, match: { path: /open/** }, auth: none, rate_limits: [who, day, seats, odd/näme], to: up }
`

type usage struct {
	Name, Kind, Scope, Plan, Word string
	Limit                         int64
	Left, Taken, Reset            *int64
	RetryAfter                    *int64 `json:"retry_after"`
	Held                          *int64
	Reached                       *bool `json:"store_reached"`
}

func n(p *int64) int64 {
	if p == nil {
		return -1
	}
	return *p
}

func (r *rig) usage(query string) (u usage) {
	r.t.Helper()
	if got := r.asks(200, &u, "GET", "/api/v1/limits/"+query, ""); got.Header.Get("Cache-Control") != "no-store" || got.Header.Get("Content-Type") != "application/json" {
		r.t.Errorf("%s: %v", query, got.Header)
	}
	return u
}

func (r *rig) served(sub, path string, fields ...string) {
	r.t.Helper()
	m := pipeline.NewMemory("GET", path)
	m.Secure = true
	if sub != "" {
		signed, err := auth.Sign(r.gateway.Snapshot().Document.Issuers["main"], map[string]any{"sub": sub}, time.Now())
		if err != nil {
			r.t.Fatal(err)
		}
		m.WithHeader("Authorization", "Bearer "+signed)
	}
	for i := 0; i < len(fields); i += 2 {
		m.WithHeader(fields[i], fields[i+1])
	}
	err := r.gateway.Serve(r.t.Context(), &m.Exchange)
	m.Finish(pipeline.End{Status: m.Sent.Status(), Kind: pipeline.KindOf(err), At: time.Now()})
	if err != nil {
		r.t.Fatal(err)
	}
}

func TestLimitUsageAndReset(t *testing.T) {
	r := newRig(t, limited)
	r.served("alice", "/w/a", "X-Key", "top-secret")
	r.served("alice", "/w/a", "X-Key", "top-secret")
	const alice, several = "who/usage?client=alice&issuer=main", "several/usage?issuer=main&client=alice&header=top-secret&route=w"
	for _, query := range []string{alice, several, strings.Replace(several, "header=", "header:X-Key=", 1)} {
		if u := r.usage(query); n(u.Left) != 3 || u.Limit != 5 || u.Kind != "rate" || u.Scope != "local" || n(u.Reset) != 7200 || u.RetryAfter != nil || u.Reached != nil || u.Held != nil {
			t.Errorf("%s: %+v", query, u)
		}
	}
	for query, left := range map[string]int64{"who/usage?client=bob&issuer=main": 5, "who/usage?client=alice&issuer=other": 5, "who/usage?client=&ip=192.0.2.1": 5, alice + "&plan=gold": 3} {
		if u := r.usage(query); n(u.Left) != left {
			t.Errorf("%s: %+v", query, u)
		}
	}
	if u := r.usage(alice + "&plan=free"); u.Word != "unlimited" || u.Left != nil || u.Plan != "free" {
		t.Errorf("%+v", u)
	}
	r.asks(204, nil, "DELETE", "/api/v1/limits/"+several, "")
	if u := r.usage(several); n(u.Left) != 5 || n(r.usage(alice).Left) != 3 {
		t.Errorf("%+v", u)
	}
	if log := r.log.String(); strings.Contains(log, "top-secret") || !strings.Contains(log, `"msg":"admin change","change":"reset limit","by":"0.0.0.0:0","ok":true,"limit":"several","client":"alice","header":"X-Key","route":"w"`) {
		t.Error(log)
	}
}

// Users are looked up by the list and the name.
func TestUsageOfUsers(t *testing.T) {
	r := newRig(t, inMemory+`rate_limits: { who: { rate: 1/1h, burst: 5, by: client } }
basic_users: { ops: { users: [{ name: acme, hash: "$2a$10$XajjQvNhvvRt5GSeFk1xFeyqRrsxkhBkUiQeg0dt.wU1qD4aFDcga" }] } }
upstreams: { up: { targets: [@UP@] } }
routes: [ { id: k, match: { path: /k }, auth: { basic: [ops] }, rate_limits: [who], to: up } ]
`)
	r.served("", "/k", "Authorization", "Basic YWNtZTphbGxtaW5l")
	if u := r.usage("who/usage?client=acme&basic_users=ops"); n(u.Left) != 4 {
		t.Errorf("%+v", u)
	}
	r.refuses(400, "bad-request", "GET", "/api/v1/limits/who/usage?client=acme", "")
}

// The clients of API keys are looked up by the list and the id.
func TestUsageOfAPIKeys(t *testing.T) {
	const key = "an-api-key-of-this-test-0123456789"
	r := newRig(t, inMemory+fmt.Sprintf(`rate_limits: { who: { rate: 1/1h, burst: 5, by: client } }
api_keys: { partners: { keys: [{ id: acme, sha256: "%x" }] } }
upstreams: { up: { targets: [@UP@] } }
routes: [ { id: k, match: { path: /k }, auth: { api_keys: [partners] }, rate_limits: [who], to: up } ]
`, sha256.Sum256([]byte(key))))
	r.served("", "/k", "X-Api-Key", key)
	if u := r.usage("who/usage?client=acme&api_keys=partners"); n(u.Left) != 4 {
		t.Errorf("%+v", u)
	}
	r.refuses(400, "bad-request", "GET", "/api/v1/limits/who/usage?client=acme", "")
	r.asks(204, nil, "DELETE", "/api/v1/limits/who/usage?client=acme&api_keys=partners", "")
	if u := r.usage("who/usage?client=acme&api_keys=partners"); n(u.Left) != 5 {
		t.Errorf("%+v", u)
	}
}

func TestUsageOfQuotasAndSeats(t *testing.T) {
	r := newRig(t, limited)
	const at = "192.0.2.1"
	ended := make(chan struct{})
	go func() { defer close(ended); r.served("", "/open/wait") }()
	<-r.arrived
	if u := r.usage("seats/usage?ip=192.0.2.2"); n(u.Taken) != 0 || n(u.Left) != 2 || u.Kind != "in_flight" {
		t.Errorf("%+v", u)
	}
	if u := r.usage("seats/usage?ip=" + at); n(u.Taken) != 1 || n(u.Left) != 1 || u.Limit != 2 || u.Reset != nil {
		t.Errorf("%+v", u)
	}
	if u := r.usage("day/usage?ip=" + at); n(u.Left) != 99 || u.Kind != "quota" || u.Limit != 100 || n(u.Reset) < 80000 {
		t.Errorf("%+v", u)
	}
	if got := r.refuses(409, "in-flight", "DELETE", "/api/v1/limits/seats/usage?ip="+at, ""); !strings.Contains(got.body, "their requests end") {
		t.Error(got.body)
	}
	if u := r.usage("odd%2Fn%C3%A4me/usage"); u.Name != "odd/näme" || n(u.Left) != 4 {
		t.Errorf("%+v", u)
	}
	close(r.release)
	<-ended
	if u := r.usage("seats/usage?ip=" + at); n(u.Taken) != 0 {
		t.Errorf("%+v", u)
	}
}

func TestUsageRefusals(t *testing.T) {
	r := newRig(t, limited)
	for query, says := range map[string]string{
		"who/usage":              "client is missing",
		"who/usage?client=alice": "add issuer=",
		"who/usage?client=alice&basic_users=nobody":                          "no issuer or list nobody",
		"who/usage?client=alice&api_keys=nobody":                             "no issuer or list nobody",
		"who/usage?client=alice&api_keys=partners&issuer=main":               "no issuer or list mainpartners",
		"who/usage?client=alice&issuer=nobody":                               "no issuer or list nobody",
		"who/usage?client=":                                                  "ip is missing",
		"who/usage?client=alice&issuer=main&plan=iron":                       "no plan iron",
		"who/usage?client=a&client=b&issuer=main":                            "stands twice",
		"who/usage?client=alice&issuer=main&nonsense=1":                      "does not count by nonsense",
		"who/usage?client=alice&issuer=main&header=x":                        "does not count by a header",
		"several/usage?client=a&issuer=main&route=w":                         "header:X-Key is missing",
		"several/usage?client=a&issuer=main&route=q&header=x":                "no route q",
		"several/usage?client=a&issuer=main&route=w&header=x&header:X-Key=x": "stands twice",
		"two/usage?header=x":                                                 "header:A= and header:B=",
		"day/usage?ip=nowhere":                                               "is not an address",
	} {
		for _, method := range []string{"GET", "DELETE"} {
			if got := r.refuses(400, "bad-request", method, "/api/v1/limits/"+query, ""); !strings.Contains(got.body, says) {
				t.Errorf("%s: %s", query, got.body)
			}
		}
	}
	for _, method := range []string{"GET", "DELETE"} {
		r.refuses(404, "not-found", method, "/api/v1/limits/nobody/usage?client=alice", "")
		r.refuses(401, "unauthenticated", method, "/api/v1/limits/who/usage?client=alice", "", "Authorization", "")
		r.refuses(403, "forbidden", method, "/api/v1/limits/who/usage?client=alice", "", "Origin", "https://evil.test")
	}
	r.refuses(405, "method-not-allowed", "POST", "/api/v1/limits/who/usage?client=alice", "")
	if strings.Contains(r.log.String(), "admin change") {
		t.Error(r.log)
	}
}
