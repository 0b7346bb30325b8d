package e2e

import (
	"encoding/base64"
	"fmt"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"
)

// hashed runs gateway hash.
func hashed(t *testing.T, password string) string {
	t.Helper()
	c := exec.Command(binary, "hash")
	c.Stdin = strings.NewReader(password + "\n")
	out, err := c.CombinedOutput()
	if err != nil {
		t.Fatalf("hash: %v: %s", err, out)
	}
	return strings.TrimSpace(string(out))
}

const basicDocument = `upstreams: { up: { targets: [%q] } }
basic_users:
  ops:
    users:
      - { name: anna, hash: %q, scopes: ["orders:read"], claims: { team: ops } }
      - { name: bert, hash: "$2a$10$XajjQvNhvvRt5GSeFk1xFeyqRrsxkhBkUiQeg0dt.wU1qD4aFDcga" }
rate_limits: { guesses: { rate: 3/h, burst: 3, by: ip } }
routes:
  - { id: users, match: { path: /users }, auth: { basic: [ops] }, forward: { claims: { X-User: sub, X-Team: team } }, to: up }
  - { id: both, match: { path: /both }, auth: { basic: [ops], issuers: [main] }, forward: { claims: { X-User: sub } }, to: up }
  - { id: scoped, match: { path: /scoped }, auth: { basic: [ops], require: { scopes: ["orders:read"] } }, to: up }
  - { id: counted, match: { path: /counted }, auth: { basic: [ops] }, failed_logins: guesses, to: up }
`

func basicGateway(t *testing.T) *gateway {
	t.Helper()
	g := prepare(t, fmt.Sprintf(basicDocument, newMirror(t).url, hashed(t, "grünes Haus: 7")))
	g.replace("listen: {", "listen: { trusted_proxies: [127.0.0.0/8],")
	g.start()
	t.Cleanup(g.kill)
	return g
}

func login(text string) string {
	return "Authorization: Basic " + base64.StdEncoding.EncodeToString([]byte(text))
}

const (
	annas          = "anna:grünes Haus: 7"
	basicChallenge = `Basic realm="oncegate", charset="UTF-8"`
)

// Case 67: one answer for all that can be wrong with a name and a password.
func TestBasicUsers(t *testing.T) {
	g := basicGateway(t)
	wrong := refusal{401, "unauthenticated", basicChallenge}
	for _, field := range []string{login(annas), strings.Replace(login(annas), "Basic", "basic", 1), login("bert:allmine")} {
		for range 2 {
			got := speak(t, g.address, line("GET", "/users", field))
			if got.status != 200 || len(got.sent("X-User")) != 1 || got.sent("Authorization") != nil {
				t.Errorf("%d %s", got.status, got.body)
			}
		}
	}
	if got := speak(t, g.address, line("GET", "/users", login(annas), "X-User: root")); fmt.Sprint(got.sent("X-User"), got.sent("X-Team")) != "[anna] [ops]" {
		t.Errorf("the upstream saw %s", got.body)
	}
	first := g.refuses("wrong password", wrong, "/users", login("anna:wrong"))
	for name, field := range map[string]string{
		"wrong again": login("anna:wrong"), "unknown user": login("nobody:wrong"), "right password, other name": login("bert:grünes Haus: 7"), "no colon": login("anna"), "nothing": "Authorization: Basic",
		"bad base64": "Authorization: Basic ???", "no padding": "Authorization: Basic YW5uYTp4eA", "control character": login("anna:\x01"), "Latin-1": login("anna:gr\xfcnes Haus: 7"), "too long": login("anna:" + strings.Repeat("x", 2000)),
		"list": login(annas) + ", Basic x", "other scheme": "Authorization: Digest x", "none": "X-None: 1",
	} {
		if got := g.refuses(name, wrong, "/users", field); got.problem() != first.problem() {
			t.Errorf("%s tells more: %s and %s", name, got.body, first.body)
		}
	}
	g.refuses("scope", refusal{403, "forbidden", `Basic realm="oncegate", error="insufficient_scope", scope="orders:read"`}, "/scoped", login("bert:allmine"))
	if got := speak(t, g.address, line("GET", "/both", "Authorization: Bearer "+hs(t))); got.status != 200 || got.sent("X-User")[0] != "alice" {
		t.Errorf("token beside: %d %s", got.status, got.body)
	}
	if got := speak(t, g.address, line("GET", "/both", login(annas))); got.status != 200 || got.sent("X-User")[0] != "anna" {
		t.Errorf("password beside: %d %s", got.status, got.body)
	}
	g.soundLog("grünes", strings.TrimPrefix(login(annas), "Authorization: Basic "), "$argon2id")
	if _, text := g.get(g.admin, "/metrics"); !strings.Contains(text, "unknown_user") || !strings.Contains(text, "wrong_password") || !strings.Contains(text, `"ops"`) {
		t.Error("metrics don't tell who was refused why")
	}
}

// problem is what a problem document says, without what differs by request.
func (s spoken) problem() string {
	doc := answer{body: s.body}.problem()
	return fmt.Sprint(doc["type"], doc["title"], doc["detail"], doc["status"], len(doc))
}

// A password that came in the clear is refused; the client of a proxy counts, not the proxy.
func TestPasswordsInTheClear(t *testing.T) {
	g := basicGateway(t)
	away := "X-Forwarded-For: 192.0.2.1"
	clear := refusal{403, "forbidden", ""}
	g.refuses("right", clear, "/users", login(annas), away)
	g.refuses("wrong", clear, "/users", login("anna:x"), away)
	g.refuses("nothing: no invitation", clear, "/users", away)
	g.refuses("nothing, tokens too", noCredential, "/both", away)
	if got := speak(t, g.address, line("GET", "/users", login(annas), away, "X-Forwarded-Proto: https")); got.status != 200 {
		t.Errorf("https at the proxy: %d %s", got.status, got.body)
	}
}

func TestFailedPasswordsAreCounted(t *testing.T) {
	g := basicGateway(t)
	statuses := []int{}
	for i := range 5 {
		statuses = append(statuses, speak(t, g.address, line("GET", "/counted", login(fmt.Sprintf("anna:%d", i)))).status)
	}
	if fmt.Sprint(statuses) != "[401 401 401 429 429]" {
		t.Errorf("%v", statuses)
	}
	if got := speak(t, g.address, line("GET", "/counted", login(annas))); got.status != 200 {
		t.Errorf("a good password: %d", got.status)
	}
}

// Without failed_logins, too, an address that guesses has ten tries and then one a second.
func TestGuessesOfAnAddress(t *testing.T) {
	g := basicGateway(t)
	statuses, last := map[int]int{}, spoken{}
	for i := range 30 {
		last = speak(t, g.address, line("GET", "/users", login(fmt.Sprintf("%s:no%d", []string{"anna", "nobody"}[i%2], i))))
		statuses[last.status]++
	}
	if statuses[401] < 10 || statuses[401] > 20 || statuses[401]+statuses[429] != 30 {
		t.Errorf("%v", statuses)
	}
	if last.kind() != "rate-limited" || last.one("Retry-After") == "" || last.one("WWW-Authenticate") != "" || !strings.Contains(last.body, `"failed-tokens"`) {
		t.Errorf("%s\n%s", last.head, last.body)
	}
	if got := speak(t, g.address, line("GET", "/users", login(annas), "X-Forwarded-For: 192.0.2.7", "X-Forwarded-Proto: https")); got.status != 200 {
		t.Errorf("another address: %d %s", got.status, got.body)
	}
	if got := speak(t, g.address, line("GET", "/both", "Authorization: Bearer "+hs(t))); got.status != 200 {
		t.Errorf("a token: %d %s", got.status, got.body)
	}
}

// Names can't be told by time: medians of a name that is there and of names that are not.
func TestTimeDoesNotTellNames(t *testing.T) {
	g := basicGateway(t)
	g.replace("listen: {", "listen: { limits: { failed_tokens_per_ip: 0% },")
	g.replace(`      - { name: bert, hash: "$2a$10$XajjQvNhvvRt5GSeFk1xFeyqRrsxkhBkUiQeg0dt.wU1qD4aFDcga" }`+"\n", "")
	g.eventually("reloaded", func() bool {
		return speak(t, g.address, line("GET", "/users", login("bert:allmine"))).status == 401
	})
	took := map[string][]time.Duration{}
	for i := range 15 {
		for _, name := range []string{"anna", "nobody"} {
			start := time.Now()
			if got := speak(t, g.address, line("GET", "/users", login(fmt.Sprintf("%s:no%d", name, i)))); got.status != 401 {
				t.Fatalf("%d %s", got.status, got.body)
			}
			took[name] = append(took[name], time.Since(start))
		}
	}
	median := func(name string) time.Duration { slices.Sort(took[name]); return took[name][7] }
	known, unknown := median("anna"), median("nobody")
	if ratio := float64(known) / float64(unknown); ratio < 0.25 || ratio > 4 {
		t.Errorf("known %v, unknown %v", known, unknown)
	}
	if known < 5*time.Millisecond || unknown < 5*time.Millisecond {
		t.Errorf("nothing was hashed: %v and %v", known, unknown)
	}
}

func TestHashesOfDocuments(t *testing.T) {
	good := hashed(t, "secret")
	for hash, want := range map[string]string{
		good: "", "secret": "is neither a hash", strings.Replace(good, "m=19456", "m=262145", 1): "256 MiB", strings.Replace(good, "t=2", "t=99", 1): "about a second",
		strings.Replace(good, "argon2id", "argon2i", 1): "another kind", "$2b$04$XajjQvNhvvRt5GSeFk1xFeyqRrsxkhBkUiQeg0dt.wU1qD4aFDcga": "cost 4",
	} {
		g := prepare(t, fmt.Sprintf(basicDocument, "http://127.0.0.1:1", hash))
		code, out, failure := command(t, "", "check", "-config", g.file)
		if (code == 0) != (want == "") || want != "" && (!strings.Contains(out+failure, want) || !strings.Contains(out+failure, "gateway.yaml:") || strings.Contains(out+failure, "$XajjQ")) {
			t.Errorf("%s: %d %s%s", hash, code, out, failure)
		}
	}
	g := prepare(t, fmt.Sprintf(basicDocument, "http://127.0.0.1:1", good))
	if code, out, _ := command(t, "", "print", "-config", g.file); code != 0 || strings.Contains(out, "$argon2id") {
		t.Errorf("print: %d %s", code, out)
	}
	if code, out, _ := command(t, "", "explain", "-config", g.file); code != 0 || !strings.Contains(out, "name and password of list ops") {
		t.Errorf("explain: %d %s", code, out)
	}
}
