package traffic

import "github.com/oncegate/oncegate/internal/pipeline"

// NoFlags is for explaining: no flag is on.
type NoFlags struct{}

// On implements Flags.
func (NoFlags) On(string, uint64) bool { return false }

// Explain says in words which arm a request goes to, and why.
func (s *Split) Explain(x *pipeline.Exchange) string {
	who, flagged := s.draw(x), ""
	for i := range s.arms {
		c := s.arms[i].when
		if c == nil {
			continue
		}
		if c.flag != "" {
			flagged = "; flags were not looked at"
			continue
		}
		if c.holds(x, who) {
			return s.arms[i].branch.Name + ", its conditions hold" + flagged
		}
	}
	if s.sticky {
		if _, known := s.key.hash(x); known {
			return s.arms[s.choose(x)].branch.Name + ", where this client stays" + flagged
		}
	}
	return "drawn by weight" + flagged
}
