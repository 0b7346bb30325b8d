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
