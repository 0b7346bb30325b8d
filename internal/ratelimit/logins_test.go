package ratelimit

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/oncegate/oncegate/internal/pipeline"
)

func loginRig(t *testing.T, store Store, cfg Config) (pipeline.Handler, *decisions) {
	cfg.Burst, cfg.By = 2, By{"ip"}
	seen := &decisions{}
	auth := pipeline.HandlerFunc(func(_ context.Context, x *pipeline.Exchange) error {
		if string(x.Request.Header("Authorization")) == "good" {
			return nil
		}
		x.Response.Set("WWW-Authenticate", []byte("Bearer"))
		x.Problem.Scopes = "read" // a login that is too weak, see auth
		return fmt.Errorf("%w: why", pipeline.Unauthenticated)
	})
	return FailedLogins(limit(t, "logins", "1/s", cfg), []string{"authorization", "x-api-key"}, store, seen)(auth), seen
}

func try(h pipeline.Handler, credential, ip string) (*pipeline.Exchange, *fakeResponse, pipeline.Refusal) {
	x, req, resp := newExchange()
	x.ClientIP = netip.MustParseAddr(ip)
	if key, ok := strings.CutPrefix(credential, "key "); ok {
		req.header["X-Api-Key"] = key
	} else if credential != "" {
		req.header["Authorization"] = credential
	}
	return x, resp, pipeline.KindOf(h.Serve(context.Background(), x))
}

// Edge case 33: whoever floods an address with bad credentials locks out only bad credentials.
func TestFailedLogins(t *testing.T) {
	m, now := newMemory(MemoryConfig{})
	h, seen := loginRig(t, m, Config{})
	wantKind := func(credential, ip string, want pipeline.Refusal) (*pipeline.Exchange, *fakeResponse) {
		t.Helper()
		x, resp, got := try(h, credential, ip)
		if got != want {
			t.Errorf("%q from %s: %v, want %v", credential, ip, got, want)
		}
		return x, resp
	}
	for range 9 { // nothing was guessed
		wantKind("", "2001:db8::1", pipeline.Unauthenticated)
	}
	for range 9 { // good ones cost nothing
		wantKind("good", "2001:db8::1", 0)
	}
	_, resp := wantKind("bad", "2001:db8::1", pipeline.Unauthenticated)
	if resp.header["WWW-Authenticate"] == "" {
		t.Error("no challenge")
	}
	wantKind("bad", "2001:db8::2", pipeline.Unauthenticated) // the same /64
	x, resp := wantKind("bad", "2001:db8::3", pipeline.RateLimited)
	if x.Problem.RetryAfter != 1 || x.Problem.Policy != "logins" || resp.header["WWW-Authenticate"] != "" {
		t.Errorf("%+v, %v", x.Problem, resp.header)
	}
	wantKind("good", "2001:db8::1", 0)
	wantKind("", "2001:db8::1", pipeline.Unauthenticated)
	wantKind("bad", "2001:db8:0:1::1", pipeline.Unauthenticated)
	now.advance(time.Second)
	wantKind("bad", "2001:db8::1", pipeline.Unauthenticated)
	for _, want := range []pipeline.Refusal{pipeline.Unauthenticated, pipeline.Unauthenticated, pipeline.RateLimited} {
		wantKind("key guessed", "192.0.2.77", want)
	}
	if seen.n["logins allowed"] != 6 || seen.n["logins refused"] != 2 {
		t.Errorf("decisions %v", seen.n)
	}
}

func TestFailedLoginsInTheDark(t *testing.T) {
	m, _ := newMemory(MemoryConfig{})
	h, seen := loginRig(t, m, Config{Mode: "shadow"})
	for range 5 {
		if _, _, kind := try(h, "bad", "192.0.2.1"); kind != pipeline.Unauthenticated {
			t.Errorf("a shadow refuses: %v", kind)
		}
	}
	if seen.n["logins shadow_refused"] != 3 {
		t.Errorf("decisions %v", seen.n)
	}
}

func TestFailedLoginsWithoutStore(t *testing.T) {
	h, _ := loginRig(t, brokenStore{}, Config{})
	if x, _, kind := try(h, "bad", "192.0.2.1"); kind != pipeline.StoreUnavailable || x.Problem != (pipeline.Problem{RetryAfter: 1}) {
		t.Errorf("%v, %+v", kind, x.Problem)
	}
	if _, _, kind := try(h, "good", "192.0.2.1"); kind != 0 {
		t.Errorf("a good credential needs no store: %v", kind)
	}
	other := errors.New("other")
	h = FailedLogins(limit(t, "x", "1/s", Config{By: By{"ip"}}), []string{"Authorization"}, brokenStore{}, nil)(pipeline.HandlerFunc(func(context.Context, *pipeline.Exchange) error { return other }))
	x, req, _ := newExchange()
	req.header["Authorization"] = "bad"
	if err := h.Serve(context.Background(), x); err != other {
		t.Errorf("another refusal became %v", err)
	}
}
