package gateway

import (
	"github.com/oncegate/oncegate/internal/bulkhead"
	"github.com/oncegate/oncegate/internal/config"
	"github.com/oncegate/oncegate/internal/pipeline"
	"github.com/oncegate/oncegate/internal/ratelimit"
)

// modeOf is a limit as a route uses it.
func (c *compiler) modeOf(r *config.RouteConfig, l *ratelimit.Limit) *ratelimit.Limit {
	if r.Mode == config.Shadow {
		return l.Shadowed()
	}
	return l
}

// shadow has a layer of a route count what it would have refused.
func (c *compiler) shadow(r *config.RouteConfig, policy string, l pipeline.Layer, kinds ...pipeline.Refusal) pipeline.Layer {
	would := func(*pipeline.Exchange, pipeline.Refusal) { c.state.Metrics.Shadowed(r.ID, policy) }
	return pipeline.Shadow(l, would, kinds...)
}

// bulkhead of a route in shadow has nobody wait: that would cost time for nothing.
func (c *compiler) bulkhead(r *config.RouteConfig, cfg bulkhead.Config, b *bulkhead.Bulkhead) pipeline.Layer {
	if r.Mode != config.Shadow {
		return bulkhead.Layer(cfg, b)
	}
	cfg.Queue = 0
	return c.shadow(r, "bulkhead", bulkhead.Layer(cfg, b), pipeline.Overloaded)
}
