package dedup

import "github.com/oncegate/oncegate/internal/units"

// Config is a route's dedup: how keyed writes happen once.
type Config struct {
	Key                string         `yaml:"key" default:"optional" enum:"required optional" doc:"Whether a write must carry an Idempotency-Key."`
	Methods            []string       `yaml:"methods" default:"[POST, PATCH]" enum:"POST PATCH PUT DELETE" nonempty:"true" doc:"Methods that are protected."`
	Scope              string         `yaml:"scope" doc:"Keys are unique within it; by default the upstream's name."`
	Client             string         `yaml:"client" default:"subject" doc:"Whose key it is: subject, or header:X-... on a route with auth: none."`
	Keep               Keep           `yaml:"keep" doc:"How long answers and keys are kept."`
	MaxAnswer          units.Size     `yaml:"max_answer" default:"256KiB" min:"1B" max:"8MiB" doc:"A larger answer is passed on and remembered as finished, not kept."`
	Wait               units.Duration `yaml:"wait" default:"0s" max:"60s" doc:"How long a duplicate of a running request waits before 409."`
	FingerprintHeaders []string       `yaml:"fingerprint_headers" default:"[Content-Type]" doc:"Headers that must be the same in a repetition."`
	KeepHeaders        []string       `yaml:"keep_headers" doc:"Response headers to keep besides the usual ones."`
	ReleaseOn          []int          `yaml:"release_on" doc:"Further statuses that free the key."`
	UpstreamDedup      bool           `yaml:"upstream_dedup" default:"false" doc:"The upstream honours the key: an unknown outcome is sent again."`
	UpstreamsShareKeys bool           `yaml:"upstreams_share_keys" default:"false" doc:"All upstreams of the route know each other's keys, in one database for instance: then upstream_dedup and status_check may stand beside a split or a fallback."`
	StatusCheck        *StatusCheck   `yaml:"status_check" doc:"Asks the upstream about unknown outcomes."`
	PerClient          *PerClient     `yaml:"per_client" doc:"Bounds what one client may put into the store."`
	ForwardKey         string         `yaml:"forward_key" default:"derived" enum:"derived as_sent none" doc:"The key that the upstream sees."`
	OnStoreFailure     string         `yaml:"on_store_failure" default:"deny" enum:"deny allow" doc:"deny answers 503; allow passes the write unprotected, and says so."`
}

// Keep is how long records live.
type Keep struct {
	Answer units.Duration `yaml:"answer" default:"24h" min:"1ms" doc:"The stored answer; by default no longer than key."`
	Key    units.Duration `yaml:"key" default:"72h" min:"1ms" doc:"The key; at least as long as the answer, by default no shorter."`
}

// Fit has a default follow the other one when only that is written.
func (k *Keep) Fit(written func(name string) bool) {
	switch answer, key := written("answer"), written("key"); {
	case answer && !key:
		k.Key = max(k.Key, k.Answer)
	case key && !answer:
		k.Answer = min(k.Answer, k.Key)
	}
}

// StatusCheck is the reconciliation of unknown outcomes.
type StatusCheck struct {
	URL         string         `yaml:"url" required:"true" doc:"Asked with {key} replaced by the key that the upstream saw; the host may be an upstream's name."`
	Executed    []int          `yaml:"executed" default:"[200]" doc:"Statuses that mean executed."`
	NotExecuted []int          `yaml:"not_executed" default:"[404]" doc:"Statuses that mean not executed."`
	Settle      units.Duration `yaml:"settle" default:"2m" doc:"The upstream's longest processing time."`
}
