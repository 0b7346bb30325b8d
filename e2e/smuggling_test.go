package e2e

import (
	"bufio"
	"io"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"time"
)

// hidden is what an attacker would like to have served as a request of its own.
const hidden = "GET /smuggled HTTP/1.1\r\nHost: a\r\nX-Smuggled: 1\r\n\r\n"

// outcome is what becomes of a raw request with a canary behind it on the same connection.
type outcome byte

const (
	refused outcome = iota // nothing goes upstream, the connection ends; the canary is not served
	served                 // one request goes upstream with the body that is meant; the canary is the next one
	last                   // one request goes upstream, then the connection ends; the canary is not served
	local                  // answered here, nothing goes upstream; the canary is served
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
	o.at("/canary", gives("HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\ncanary"))
	g := edged(t, o, "limits: { read_timeout: 1s }", "")
	o.at("/early", cuts("HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\n\r\n"))
	all, names := corpus(), map[string]bool{}
	for _, a := range all {
		if names[a.name] {
			t.Errorf("%s stands twice", a.name)
		}
		names[a.name] = true
		before := o.count()
		statuses, ended := g.attack(t, a.in+"GET /canary HTTP/1.1\r\nHost: a\r\n\r\n")
		o.mu.Lock()
		seen := append([]arrival{}, o.seen[before:]...)
		o.mu.Unlock()
		got, why := judgeAttack(a, seen, statuses, ended)
		if why != "" {
			t.Errorf("%s: %s; answers %v, ended %v; upstream saw %q", a.name, why, statuses, ended, seen)
		} else if got != a.want {
			t.Errorf("%s: outcome %d, wanted %d; answers %v, upstream saw %q", a.name, got, a.want, statuses, seen)
		}
	}
	if len(all) < 200 {
		t.Errorf("%d requests only", len(all))
	}
	t.Logf("%d requests", len(all))
}

var requestLine = regexp.MustCompile(`(?m)^[A-Z]+ (\S+) HTTP/1\.1\r$`)

// judgeAttack says what happened; why is a breach.
func judgeAttack(a attack, seen []arrival, statuses []string, ended bool) (got outcome, why string) {
	own, canaries := 0, 0
	for _, s := range seen {
		switch {
		case strings.Contains(s.head, "/smuggled") || strings.Contains(s.head, "X-Smuggled"):
			return 0, "smuggled"
		case len(requestLine.FindAllString(s.head, -1)) != 1:
			return 0, "more than one request line in a head"
		case strings.HasPrefix(s.head, "GET /canary HTTP/1.1\r\n"):
			canaries++
		default:
			if own++; s.body != a.body {
				return 0, "another body"
			}
		}
	}
	answered := len(statuses) > 0 && statuses[len(statuses)-1] == "canary"
	switch {
	case own > 1 || canaries > 1:
		return 0, "more requests than were sent"
	case canaries == 1 != answered:
		return 0, "the canary was answered by something else"
	case own == 1 && answered && len(statuses) == 2:
		return served, ""
	case own == 1 && !answered && ended && len(statuses) == 1:
		return last, ""
	case own == 0 && !answered && ended && len(statuses) <= 1:
		return refused, ""
	case own == 0 && answered && len(statuses) == 2:
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
