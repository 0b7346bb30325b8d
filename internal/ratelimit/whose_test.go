package ratelimit

import (
	"errors"
	"net/netip"
	"strings"
	"testing"

	"github.com/oncegate/oncegate/internal/pipeline"
)

// The admin's key is, byte for byte, that of the request, for every kind of identity and every form of an address.
func TestKeyOfWhomIsThatOfTheRequest(t *testing.T) {
	long := strings.Repeat("k", 4096) + "\x00:&"
	for name, c := range map[string]struct {
		by      By
		missing string
		whom    Whose
		change  func(x *pipeline.Exchange, r *fakeRequest)
	}{
		"client":               {By{"client"}, "", Whose{"client": "main|u1"}, nil},
		"no by is client":      {nil, "", Whose{"client": "main|u1"}, nil},
		"address":              {By{"ip"}, "", Whose{"ip": "192.0.2.1"}, nil},
		"mapped":               {By{"ip"}, "", Whose{"ip": "::ffff:192.0.2.1"}, nil},
		"mapped in hex":        {By{"ip"}, "", Whose{"ip": "::FFFF:c000:0201"}, nil},
		"nat64":                {By{"ip"}, "", Whose{"ip": "64:ff9b::192.0.2.1"}, nil},
		"v6 by its /64":        {By{"ip"}, "", Whose{"ip": "2001:db8:1:2::9"}, address("2001:db8:1:2:ffff::1")},
		"v6 with a zone":       {By{"ip"}, "", Whose{"ip": "fe80::1%eth0"}, address("fe80::2")},
		"route":                {By{"route"}, "", Whose{"route": "orders"}, nil},
		"all":                  {By{"all"}, "", Whose{}, nil},
		"header":               {By{"header:X-Tenant"}, "", Whose{"header:X-Tenant": long}, tenant(long)},
		"claim":                {By{"claim:plan"}, "", Whose{"claim:plan": "gold"}, nil},
		"composite":            {By{"client", "route", "ip"}, "", Whose{"client": "main|u1", "route": "orders", "ip": "::ffff:192.0.2.1"}, nil},
		"several of a kind":    {By{"header:A", "header:X-Tenant", "claim:plan", "all"}, "", Whose{"header:A": "a", "header:X-Tenant": "t", "claim:plan": "gold"}, tenant("t", "A", "a")},
		"anonymous":            {By{"client"}, "", Whose{"client": "", "ip": "192.0.2.1"}, anonymous},
		"anonymous, v6":        {By{"client"}, "", Whose{"client": "", "ip": "2001:db8::1"}, func(x *pipeline.Exchange, r *fakeRequest) { anonymous(x, r); address("2001:db8::2")(x, r) }},
		"anonymous, together":  {By{"client"}, "shared", Whose{"client": ""}, anonymous},
		"no header, together":  {By{"header:X-Tenant"}, "shared", Whose{"header:X-Tenant": ""}, nil},
		"no claim":             {By{"claim:team"}, "next", Whose{"claim:team": "", "ip": "192.0.2.1"}, nil},
		"part of it, together": {By{"client", "header:X-Tenant"}, "shared", Whose{"client": "main|u1", "header:X-Tenant": ""}, nil},
		"part of it, next":     {By{"client", "header:X-Tenant"}, "next", Whose{"client": "main|u1", "header:X-Tenant": "", "ip": "192.0.2.1"}, nil},
		"all there, reject":    {By{"client", "header:X-Tenant"}, "reject", Whose{"client": "main|u1", "header:X-Tenant": "t"}, tenant("t")},
	} {
		l := limit(t, "x", "1/s", Config{By: c.by, OnMissing: c.missing})
		if c.change == nil {
			c.change = func(*pipeline.Exchange, *fakeRequest) {}
		}
		got, err := l.AppendKeyOf(nil, c.whom)
		if want := keyOf(t, l, c.change); err != nil || string(got) != want {
			t.Errorf("%s: %q, %v, wanted %q", name, got, err, want)
		}
	}
}

func address(ip string) func(*pipeline.Exchange, *fakeRequest) {
	return func(x *pipeline.Exchange, _ *fakeRequest) { x.ClientIP = netip.MustParseAddr(ip) }
}

func anonymous(x *pipeline.Exchange, _ *fakeRequest) { x.Client = pipeline.Client{} }

func tenant(value string, more ...string) func(*pipeline.Exchange, *fakeRequest) {
	return func(_ *pipeline.Exchange, r *fakeRequest) {
		r.header["X-Tenant"] = value
		for i := 0; i < len(more); i += 2 {
			r.header[more[i]] = more[i+1]
		}
	}
}

// A question that is not whole is refused: a wrong key would show a full bucket, and reset nothing.
func TestWhoseMustBeWhole(t *testing.T) {
	for name, c := range map[string]struct {
		by      By
		missing string
		whom    Whose
		says    string
	}{
		"nothing":               {By{"client"}, "", Whose{}, "client is missing"},
		"another identity":      {By{"client"}, "", Whose{"ip": "192.0.2.1"}, "client is missing"},
		"one too many":          {By{"client"}, "", Whose{"client": "u", "ip": "192.0.2.1"}, "does not count by ip"},
		"part of a composite":   {By{"client", "route"}, "", Whose{"client": "u"}, "route is missing"},
		"anonymous, no address": {By{"client"}, "", Whose{"client": ""}, "ip is missing"},
		"no address":            {By{"ip"}, "", Whose{"ip": ""}, "ip is empty"},
		"no route":              {By{"route"}, "shared", Whose{"route": ""}, "route is empty"},
		"a name for an address": {By{"ip"}, "", Whose{"ip": "localhost"}, "is not an address"},
		"a port":                {By{"ip"}, "", Whose{"ip": "192.0.2.1:80"}, "is not an address"},
		"rejected":              {By{"client"}, "reject", Whose{"client": ""}, "refuses requests without client"},
		"another header":        {By{"header:A"}, "", Whose{"header:A": "a", "header:B": "b"}, "does not count by header:B"},
		"all":                   {By{"all"}, "", Whose{"client": "u"}, "does not count by client"},
	} {
		l := limit(t, "x", "1/s", Config{By: c.by, OnMissing: c.missing})
		_, err := l.AppendKeyOf(nil, c.whom)
		if !errors.Is(err, ErrWhose) || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
