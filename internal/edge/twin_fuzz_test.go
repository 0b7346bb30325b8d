package edge_test

import (
	"bytes"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"
)

// FuzzTwins says one request over HTTP/1.1 and over HTTP/2. Both edges refuse it, in the same words where HTTP/2 doesn't demand
// a reset, or both hand it on with one meaning and give the same answer.
func FuzzTwins(f *testing.F) {
	for _, s := range twinSeeds() {
		f.Add(s.method, s.target, s.authority, s.fields, s.trailers, []byte(s.body), s.framing, s.length)
	}
	w := &witness{}
	p := openTwins(f, twinConfig(), w)
	f.Fuzz(func(t *testing.T, method, target, authority, fields, trailers string, body []byte, framing byte, length string) {
		if len(method)+len(target)+len(authority)+len(fields)+len(trailers)+len(body)+len(length) > 48<<10 {
			return
		}
		s := &said{method: method, target: target, authority: authority, body: body, framing: framing & 3, undeclared: framing&0x40 != 0}
		raw := framing&0x80 != 0
		s.fields, s.trailers = pairs(fields, raw), pairs(trailers, raw)
		for _, one := range strings.Split(length, "\n") {
			s.lengths = append(s.lengths, strings.Trim(one, " \t"))
		}
		if s.framing == framedNone {
			s.body = nil
		}
		if s.framing != framedUnknown {
			s.trailers = nil
		}
		p.judge(t, w, s)
	})
}

// pairs reads name:value lines. Lengths are said elsewhere. Names go in lower case unless they shall be wrong.
func pairs(text string, raw bool) (all [][2]string) {
	for line := range strings.SplitSeq(text, "\n") {
		from := 0
		if strings.HasPrefix(line, ":") {
			from = 1
		}
		name, value, found := strings.Cut(line[from:], ":")
		name = line[:from] + name
		if !raw {
			name = strings.ToLower(name)
		}
		if found && !strings.EqualFold(name, "content-length") && len(all) < 60 {
			all = append(all, [2]string{name, value})
		}
	}
	return all
}

func (p *twinPort) judge(t *testing.T, w *witness, s *said) {
	t.Helper()
	first, second := p.dial(t), p.dial(t)
	one, canaried, err := p.overH1(s, first)
	if err != nil {
		t.Fatalf("HTTP/1.1: %v\n%q", err, s.lines())
	}
	p.settle(t)
	sawOne := w.take(first.LocalAddr().String())
	two, err := p.overH2(s, second)
	if err != nil {
		t.Fatalf("HTTP/2: %v\n%+v", err, s)
	}
	p.settle(t)
	sawTwo := w.take(second.LocalAddr().String())
	fail := func(what string) {
		t.Helper()
		t.Fatalf("%s\n%+v\nHTTP/1.1: %+v, handed on %+v\nHTTP/2: %+v, handed on %+v", what, *s, one, sawOne, two, sawTwo)
	}
	if why := s.unsayable(); why != "" { // what h1 made of it is another request
		if whole(sawTwo) > 0 || !two.refused() {
			fail(why + " passed over HTTP/2")
		}
		return
	}
	if len(sawOne) > 0 && strings.HasPrefix(sawOne[len(sawOne)-1].head, "GET\n/canary\n") && (len(sawOne) == 2 || one.refused() || s.target == "/canary") {
		sawOne = sawOne[:len(sawOne)-1]
	} else if canaried != "" && !strings.Contains(canaried, "urn:oncegate:problem:") {
		fail("the canary was answered by something else")
	}
	if len(sawOne) > 1 || len(sawTwo) > 1 {
		fail("more requests than were sent")
	}
	switch {
	case one.refused() != two.refused():
		if !s.mayDiffer(one, two) {
			fail("one edge refuses")
		}
	case one.refused():
		if one.parted != "" || whole(sawOne)+whole(sawTwo) > 0 {
			fail("refused without a word, or in spite of")
		}
		if two.parted != "" && !s.malformed() {
			fail("reset without need")
		}
		if two.parted == "" && !two.grpc() && !s.malformed() && (one.status != two.status && !s.doublyWrong() && !s.mayDiffer(one, two) || !one.problem() && s.method != "HEAD" || one.problem() != two.problem()) {
			fail("refused in other words")
		}
	case len(sawOne) != 1 || len(sawTwo) != 1 || sawOne[0] != sawTwo[0]:
		if !s.undeclared || len(s.trailers) == 0 {
			fail("handed on differently")
		}
	case one.status != two.status || one.body != two.body || !slices.Equal(one.fields, two.fields):
		fail("answered differently")
	}
}

// whole counts requests whose body came to its end.
func whole(saw []handed) (n int) {
	for _, h := range saw {
		if h.err == nil {
			n++
		}
	}
	return n
}

func (p *twinPort) settle(t *testing.T) {
	for by := time.Now().Add(8 * time.Second); p.h1.Active()+p.h2.Active() > 0; time.Sleep(50 * time.Microsecond) {
		if time.Now().After(by) {
			t.Fatal("an exchange does not end")
		}
	}
}

// unsayable names what HTTP/1.1 can't say, or says with another meaning, and HTTP/2 has to refuse (RFC 9113 8.2, 8.3, 8.1.1).
func (s *said) unsayable() string {
	te := 0
	for i, f := range slices.Concat(s.fields, s.trailers) {
		switch name := strings.ToLower(f[0]); {
		case strings.ContainsAny(f[0]+f[1], "\r\n\x00"):
			return "a control byte"
		case name != f[0]:
			return "a name in upper case"
		case i >= len(s.fields):
		case name == "connection", name == "keep-alive", name == "proxy-connection", name == "transfer-encoding", name == "upgrade":
			return "a field of the connection"
		case name == "te":
			if te++; te > 1 || f[1] != "" && f[1] != "trailers" {
				return "te"
			}
		}
	}
	switch {
	case strings.ContainsAny(s.method+s.target+s.authority, "\r\n\x00"):
		return "a control byte"
	case !strings.HasPrefix(s.target, "/"):
		return "a target that is no path"
	case !s.exact():
		return "a length that is not the body's"
	}
	return ""
}

// doublyWrong tells heads that may be refused for either of two reasons, because one edge or the other reads no further: large
// ones, and hosts that the codec of HTTP/1.1 refuses before it is known what the method is.
func (s *said) doublyWrong() bool {
	odd := func(r rune) bool {
		return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '.' || r == '-')
	}
	return len(s.all()) > 16 || len(s.lines())-len(s.body)-len(canary) > 1900 || strings.ContainsFunc(s.authority, odd)
}

// malformed tells what the library resets, or refuses in its own words.
func (s *said) malformed() bool {
	bad := func(name string) bool {
		return name == "" || strings.ContainsFunc(name, func(r rune) bool { return r <= ' ' || r > '~' || strings.ContainsRune("\"(),/:;<=>?@[\\]{}", r) })
	}
	control := func(text string) bool {
		return bytes.ContainsFunc([]byte(text), func(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f })
	}
	for _, f := range slices.Concat(s.fields, s.trailers) {
		if bad(f[0]) || control(f[1]) {
			return true
		}
	}
	if _, err := url.ParseRequestURI(s.target); err != nil || strings.Contains(s.authority, "@") {
		return true
	}
	return bad(s.method) || strings.EqualFold(s.method, "CONNECT") || control(s.target+s.authority) || len(s.lines()) > 30<<10 || len(s.trailers) > 0
}

// mayDiffer is the list of docs/protocols.md: where one edge refuses and the other need not.
func (s *said) mayDiffer(one, two answer) bool {
	has, hosts := map[string]string{}, 0
	for _, f := range s.all() {
		if has[f[0]] += f[1]; f[0] == "host" {
			hosts++
		}
	}
	_, cookie := has["cookie"]
	_, trailer := has["trailer"]
	_, expect := has["expect"]
	switch {
	case one.status == 431: // net/http joins cookies and takes the other two away, so heads are shorter
		return cookie || trailer || expect
	case one.status == 417: // what stands beside 100-continue is not seen
		return strings.Contains(strings.ToLower(has["expect"]), "100-continue")
	case one.status != 400:
		return false
	case hosts == 1 && s.authority != "": // Host beside an equal :authority
		return strings.EqualFold(strings.Trim(has["host"], " \t"), s.authority)
	}
	return trailer || len(s.trailers) > 0 && s.undeclared // names that may be no trailers; those that were not announced are not seen
}
