package dedup_test

import (
	"strings"
	"testing"

	"github.com/oncegate/oncegate/internal/dedup"
	"github.com/oncegate/oncegate/internal/units"
)

func TestValidate(t *testing.T) {
	for _, c := range []struct {
		change func(*dedup.Config)
		want   string // path: part of the message
	}{
		{func(c *dedup.Config) {}, ""},
		{func(c *dedup.Config) { c.Client = "header:X-Tenant" }, ""},
		{func(c *dedup.Config) { c.Client = "header:" }, "client: not the name"},
		{func(c *dedup.Config) { c.Client = "header:X Tenant" }, "client: not the name"},
		{func(c *dedup.Config) { c.Client = "token" }, "client: neither subject"},
		{func(c *dedup.Config) { c.Client = "header:Authorization" }, "client: does not say whose"},
		{func(c *dedup.Config) { c.Client = "header:x-forwarded-for" }, "client: does not say whose"},
		{func(c *dedup.Config) { c.Keep.Key = c.Keep.Answer }, ""},
		{func(c *dedup.Config) { c.Keep.Key = c.Keep.Answer - 1 }, "keep: at least as long"},
		{func(c *dedup.Config) { c.ReleaseOn = []int{400, 503, 599} }, ""},
		{func(c *dedup.Config) { c.ReleaseOn = []int{503, 399} }, "release_on[1]: 399"},
		{func(c *dedup.Config) { c.ReleaseOn = []int{600} }, "release_on[0]: 600"},
		{func(c *dedup.Config) { c.FingerprintHeaders = []string{"Content-Type", "X:Y"} }, "fingerprint_headers[1]: not the name"},
		{func(c *dedup.Config) { c.FingerprintHeaders = []string{"traceparent"} }, "fingerprint_headers[0]: differs in every"},
		{func(c *dedup.Config) { c.KeepHeaders = []string{"X-Order"} }, ""},
		{func(c *dedup.Config) { c.KeepHeaders = []string{""} }, "keep_headers[0]: not the name"},
		{func(c *dedup.Config) { c.KeepHeaders = []string{"X-Order", "set-cookie"} }, "keep_headers[1]: never replayed"},
	} {
		cfg := config()
		c.change(&cfg)
		p := units.NewProblems()
		cfg.Validate(p)
		path, part, _ := strings.Cut(c.want, ": ")
		list := p.List()
		if c.want == "" && len(list) != 0 || c.want != "" && (len(list) != 1 || list[0].Path != path || !strings.Contains(list[0].Message, part)) {
			t.Errorf("%+v, want %q", list, c.want)
		}
	}
}

func TestValidateStatusCheck(t *testing.T) {
	for _, c := range []struct {
		url               string
		executed, refuted []int
		want              string
	}{
		{"http://orders/v1/{key}", []int{200}, []int{404}, ""},
		{"https://orders.example.com:8443/v1?key={key}", []int{200, 201}, []int{404, 410}, ""},
		{"http://orders?key={key}", []int{200}, nil, ""},
		{"HTTP://orders/{key}", []int{200}, nil, ""},
		{"orders/{key}", nil, nil, "url: not an http"},
		{"ftp://orders/{key}", nil, nil, "url: not an http"},
		{"http:///{key}", nil, nil, "url: not an http"},
		{"http://ann:pass@orders/{key}", nil, nil, "url: not an http"},
		{"http://orders/v1", nil, nil, "url: no {key}"},
		{"http://{key}.orders/v1", nil, nil, "url: in the host"},
		{"http://orders/v1#{key}", nil, nil, "url: fragment"},
		{"http://orders/{key}", []int{100}, nil, "executed[0]: not a status"},
		{"http://orders/{key}", []int{200}, []int{404, 600}, "not_executed[1]: not a status"},
		{"http://orders/{key}", []int{200, 404}, []int{404}, "not_executed[0]: means executed, too"},
		{"http://orders/{key}", []int{200}, []int{404, 503}, "not_executed[1]: upstream failed"},
	} {
		s := dedup.StatusCheck{URL: c.url, Executed: c.executed, NotExecuted: c.refuted}
		p := units.NewProblems()
		s.Validate(p)
		path, part, _ := strings.Cut(c.want, ": ")
		list := p.List()
		if c.want == "" && len(list) != 0 || c.want != "" && (len(list) != 1 || list[0].Path != path || !strings.Contains(list[0].Message, part)) {
			t.Errorf("%s: %+v, want %q", c.url, list, c.want)
		}
	}
	for _, change := range []func(*dedup.Config){
		func(c *dedup.Config) { c.StatusCheck = &dedup.StatusCheck{} },
		func(c *dedup.Config) { c.UpstreamDedup = true },
	} {
		cfg := config()
		cfg.ForwardKey = "none"
		change(&cfg)
		p := units.NewProblems()
		cfg.Validate(p)
		if len(p.List()) != 1 {
			t.Errorf("%+v", p.List())
		}
	}
}
