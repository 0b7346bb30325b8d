package config

import (
	"sort"
	"strconv"
	"strings"
)

// scrubber takes values that came from variables and files, and values of secret keys, out of messages: whoever wrote a
// check may quote the value that it judged.
type scrubber struct {
	hidden []hiddenValue
}

type hiddenValue struct {
	text, shown string
	bare        bool // taken out without quotes too
}

// minBare is the length from which a value is also taken out where it stands without quotes: shorter ones are found in
// ordinary words.
const minBare = 6

func newScrubber(root *node, secrets []string) *scrubber {
	s := &scrubber{}
	literal := make(map[string]bool)
	s.collect(root, literal)
	for _, secret := range secrets {
		s.hide(secret, "[redacted]", 12)
	}
	// What stands in the text anyway is no secret; names of routes are often both.
	kept := s.hidden[:0]
	for _, h := range s.hidden {
		if h.shown == "[redacted]" || !literal[h.text] {
			kept = append(kept, h)
		}
	}
	s.hidden = kept
	sort.SliceStable(s.hidden, func(i, j int) bool { return len(s.hidden[i].text) > len(s.hidden[j].text) })
	return s
}

func (s *scrubber) collect(n *node, literal map[string]bool) {
	if n == nil {
		return
	}
	if n.kind == scalarNode && len(n.sources) == 0 {
		literal[n.text] = true
	}
	if len(n.sources) > 0 {
		s.hide(n.text, "value from "+strings.Join(n.sources, ""), minBare)
		for i, piece := range n.pieces {
			s.hide(piece, "value from "+n.sources[i], minBare)
		}
	}
	for _, item := range n.items {
		s.collect(item, literal)
	}
	for _, e := range n.entries {
		s.collect(e.value, literal)
	}
}

func (s *scrubber) hide(text, shown string, bare int) {
	if text != "" {
		s.hidden = append(s.hidden, hiddenValue{text, shown, len(text) >= bare})
	}
}

func (s *scrubber) clean(message string) string {
	for _, h := range s.hidden {
		quoted := strconv.Quote(h.text)
		message = strings.ReplaceAll(message, quoted, h.shown)
		if h.bare {
			message = strings.ReplaceAll(message, quoted[1:len(quoted)-1], h.shown)
			message = strings.ReplaceAll(message, h.text, h.shown)
		}
	}
	return message
}
