package keyset

import (
	"fmt"
	"slices"
)

// Doubts says, one text each, why tokens that look right can never find a key of the set: keys of one algorithm that have no
// id, of which none is ever tried in turn, and algorithms that no key carries because each carries exactly one. It is for
// whoever configured the issuer.
func (s *Set) Doubts(allowed []*Algorithm) (texts []string) {
	for _, a := range allowed {
		nameless, carried := 0, false
		for _, k := range s.keys {
			if k.Algorithm == a {
				carried = true
				if k.ID == "" {
					nameless++
				}
			}
		}
		if nameless > 1 {
			texts = append(texts, fmt.Sprintf("%d keys for %s have no kid: %s", nameless, a.Name, whyKids))
		}
		passed := func(k *Key) bool {
			return k.chosen && k.Algorithm.Family == a.Family && k.Algorithm.curve == a.curve
		}
		if i := slices.IndexFunc(s.keys, passed); i >= 0 && !carried {
			texts = append(texts, fmt.Sprintf("no key takes %s: one that names no alg takes the first algorithm of its kind that is listed, %s, and no other",
				a.Name, s.keys[i].Algorithm.Name))
		}
	}
	return texts
}

const whyKids = "no token can say which it means, and none is tried in turn; a JSON key set gives each a kid"

// toldApart demands that no two keys of files are alike in algorithm and lack of an id; names are the files of the keys.
func toldApart(keys []*Key, names []string) error {
	for i, k := range keys {
		for j, other := range keys[:i] {
			switch {
			case k.ID != "" || other.ID != "" || k.Algorithm != other.Algorithm || k.fingerprint == other.fingerprint:
			case names[i] == names[j]:
				return fmt.Errorf("key file %s: two keys for %s have no kid: %s", names[i], k.Algorithm.Name, whyKids)
			default:
				return fmt.Errorf("key files %s and %s: two keys for %s have no kid: %s", names[j], names[i], k.Algorithm.Name, whyKids)
			}
		}
	}
	return nil
}
