package e2e

import (
	"bufio"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"
)

// hidden is what an attacker would like to have served as a request of its own.
const hidden = "GET /smuggled HTTP/1.1\r\nHost: a\r\nX-Smuggled: 1\r\n\r\n"

// outcome is what becomes of a raw request with a canary behind it on the same connection.
type outcome byte

const (
	refused   outcome = iota // nothing goes upstream, the connection ends; the canary is not served
	served                   // one request goes upstream with the body that is meant; the canary is the next one
	last                     // one request goes upstream, then the connection ends; the canary is not served
	brokenOff                // the body turns out malformed while it is passed on: 400, and both connections end within it
	local                    // answered here, nothing goes upstream; the canary is served
	framed                   // the connection speaks HTTP/2 from here on, for which the canary is no frame: nothing goes upstream
)

// attack is a row of the corpus.
type attack struct {
	name, in string
	want     outcome
	body     string // served: as it comes at the upstream, chunk framing included
}

// corpus is the whole of it.
func corpus() (all []attack) {
	for _, part := range [][]attack{lengths(), codings(), combined(), chunkBodies(), fieldLines(), requestLines(), hosts(), versions(), protocols(), pipelines()} {
		all = append(all, part...)
	}
	return all
}

// Whatever a client sends, the upstream never sees a request that was not one for every reader of RFC 9112: none that hides in
// another, and no answer goes to another request.
func TestSmugglingCorpus(t *testing.T) {
	o := newOrigin(t)
	g := edged(t, o, "limits: { read_timeout: 1s }", "")
	all, names := corpus(), map[string]bool{}
	heard := make([]verdictOf, len(all))
	for i, a := range all {
		if names[a.name] {
			t.Errorf("%s stands twice", a.name)
		}
		names[a.name] = true
		o.at(fmt.Sprintf("/canary%d", i), gives("HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\ncanary"))
		o.at(fmt.Sprintf("/early%d", i), cuts("HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\n\r\n"))
		in := strings.NewReplacer("/x ", fmt.Sprintf("/x%d ", i), "/early ", fmt.Sprintf("/early%d ", i)).Replace(a.in)
		heard[i].statuses, heard[i].ended = g.attack(t, in+fmt.Sprintf("GET /canary%d HTTP/1.1\r\nHost: a\r\n\r\n", i))
	}
	g.eventually("nothing in flight", func() bool { return g.metric(`gateway_in_flight{route="all"}`) == "0" })
	time.Sleep(200 * time.Millisecond) // for what must not come
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, s := range o.seen {
		m := ownPath.FindStringSubmatch(s.head)
		if m == nil {
			t.Errorf("smuggled: %q", s)
			continue
		}
		i, _ := strconv.Atoi(m[2])
		heard[i].seen = append(heard[i].seen, s)
	}
	for i, a := range all {
		if a.want == framed {
			if len(heard[i].seen) > 0 || len(heard[i].statuses) != 1 || !strings.HasPrefix(heard[i].statuses[0], "broken: ") {
				t.Errorf("%s: answers %v, upstream saw %q", a.name, heard[i].statuses, heard[i].seen)
			}
			continue
		}
		if got, why := heard[i].judge(a); why != "" {
			t.Errorf("%s: %s; answers %v, ended %v; upstream saw %q", a.name, why, heard[i].statuses, heard[i].ended, heard[i].seen)
		} else if got != a.want {
			t.Errorf("%s: outcome %d, wanted %d; answers %v, upstream saw %q", a.name, got, a.want, heard[i].statuses, heard[i].seen)
		}
	}
	if len(all) < 200 {
		t.Errorf("%d requests only", len(all))
	}
	t.Logf("%d requests", len(all))
}

var (
	requestLine = regexp.MustCompile(`(?m)^[A-Za-z]+ (\S+) HTTP/1\.1\r$`)
	ownPath     = regexp.MustCompile(`^[A-Za-z]+ /(x|early|canary)([0-9]+) HTTP/1\.1\r\n`)
)

// verdictOf is what an attack came to, at the client and upstream.
type verdictOf struct {
	statuses []string
	ended    bool
	seen     []arrival
}

// judge says what happened; why is a breach.
func (v *verdictOf) judge(a attack) (got outcome, why string) {
	own, canaries, whole := 0, 0, true
	for _, s := range v.seen {
		switch {
		case strings.Contains(s.head, "/smuggled") || strings.Contains(s.head, "X-Smuggled"):
			return 0, "smuggled"
		case len(requestLine.FindAllString(s.head, -1)) != 1:
			return 0, "more than one request line in a head"
		case strings.HasPrefix(s.head, "GET /canary"):
			canaries++
		default:
			own++
			whole = !strings.Contains(s.head, "Transfer-Encoding: chunked") || strings.HasSuffix(s.body, "0\r\n\r\n")
			if whole && s.body != a.body {
				return 0, "another body"
			}
		}
	}
	n := len(v.statuses)
	answered := n > 0 && v.statuses[n-1] == "canary"
	switch {
	case own > 1 || canaries > 1:
		return 0, "more requests than were sent"
	case canaries == 1 != answered:
		return 0, "the canary was answered by something else"
	case own == 1 && !whole && !answered && v.ended && n == 1 && v.statuses[0] == "400":
		return brokenOff, ""
	case !whole:
		return 0, "half of a request was let stand"
	case own == 1 && answered && n == 2:
		return served, ""
	case own == 1 && !answered && v.ended && n == 1:
		return last, ""
	case own == 0 && !answered && v.ended && n <= 1:
		return refused, ""
	case own == 0 && answered && n == 2:
		return local, ""
	}
	return 0, "neither served nor refused"
}

// attack sends the bytes and gives what was answered, up to the canary or the end of the connection.
func (g *gateway) attack(t *testing.T, in string) (statuses []string, ended bool) {
	t.Helper()
	d := g.dialog()
	defer d.Close()
	_ = d.SetDeadline(time.Now().Add(4 * time.Second))
	d.say(in)
	reader := bufio.NewReader(d)
	for len(statuses) < 4 {
		if _, err := reader.Peek(1); err != nil {
			return statuses, err == io.EOF || strings.Contains(err.Error(), "reset")
		}
		got, err := http.ReadResponse(reader, nil)
		if err != nil {
			return append(statuses, "broken: "+err.Error()), false
		}
		body, _ := io.ReadAll(got.Body)
		if string(body) == "canary" {
			return append(statuses, "canary"), false
		}
		statuses = append(statuses, got.Status[:3])
	}
	return statuses, false
}
