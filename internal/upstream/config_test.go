package upstream

import (
	"strings"
	"testing"

	"github.com/oncegate/oncegate/internal/units"
)

func problems(cfg *Config) []units.Problem {
	p := units.NewProblems()
	cfg.Validate(p.Key("upstreams").Key("orders"))
	return p.List()
}

func TestValidateTargets(t *testing.T) {
	for url, want := range map[string]string{
		"http://127.0.0.1:9001":       "",
		"HTTP://orders":               "",
		"https://[2001:db8::1]:8443/": "",
		"http://orders_api:80":        "",
		"ftp://orders":                "scheme http, https, h2c, grpc or grpcs",
		"orders:9001":                 "scheme http, https, h2c, grpc or grpcs",
		"127.0.0.1:9001":              "is not a URL",
		"http://":                     "has no host",
		"http://:80":                  "has no host",
		"http:orders":                 "has no host",
		"http://user:s3cret@orders":   "credentials",
		"http://orders/api":           "path",
		"http://orders?x=s3cret":      "end after host and port",
		"http://orders?":              "end after host and port",
		"http://orders#s3cret":        "end after host and port",
		"http://orders:0":             "port",
		"http://orders:70000":         "port",
		"http://user:s3cret@orders:x": "is not a URL",
		"http://orders,users":         "host",
		"ftp://user:s3cret@orders/":   "scheme http, https, h2c, grpc or grpcs",
		"mailto:s3cret":               "scheme http, https, h2c, grpc or grpcs",
	} {
		list := problems(&Config{Targets: []TargetConfig{{URL: "http://fine"}, {URL: url}}})
		switch {
		case want == "" && len(list) == 0:
		case want == "" || len(list) != 1:
			t.Errorf("%s: %v", url, list)
		case !strings.Contains(list[0].Message, want) || strings.Contains(list[0].Message, "s3cret") || list[0].Path != "upstreams.orders.targets[1]":
			t.Errorf("%s: %+v, want %q", url, list[0], want)
		}
	}
}

func TestValidateMissingTargets(t *testing.T) {
	list := problems(&Config{})
	if len(list) != 1 || list[0].Path != "upstreams.orders.targets" || list[0].Place != units.AtParent {
		t.Errorf("%+v", list)
	}
}

func TestParseTarget(t *testing.T) {
	for url, want := range map[string]endpoint{
		"http://Orders":          {"http", "orders:80", "orders", "orders", overHTTP1},
		"https://orders":         {"https", "orders:443", "orders", "orders", overHTTP1},
		"https://orders:80/":     {"https", "orders:80", "orders:80", "orders", overHTTP1},
		"http://[2001:db8::1]":   {"http", "[2001:db8::1]:80", "[2001:db8::1]", "2001:db8::1", overHTTP1},
		"http://127.0.0.1:09001": {"http", "127.0.0.1:09001", "127.0.0.1:09001", "127.0.0.1", overHTTP1},
	} {
		if got, problem := parseTarget(url); got != want || problem != "" {
			t.Errorf("%s: %+v, %s", url, got, problem)
		}
	}
}

func TestNewRefusesWhatValidateWould(t *testing.T) {
	pools := NewPools(nil)
	defer pools.Close()
	for _, cfg := range []Config{{}, defaults("ftp://a")} {
		if _, err := New("orders", cfg, pools, nil); err == nil {
			t.Errorf("%+v was accepted", cfg.Targets)
		}
	}
}
