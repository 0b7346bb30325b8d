package auth

import (
	"context"
	"encoding/base64"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/oncegate/oncegate/internal/pipeline"
	"github.com/oncegate/oncegate/internal/units"
)

// The cheapest hashes that are taken: argon2id of 7 MiB and one pass, and bcrypt of cost 10.
const (
	hashOfSecret  = "$argon2id$v=19$m=7168,t=1,p=1$c29tZXNhbHQ$eI5UesnUtQ/XAcRVLlzZGTnPW51FzTOPqugeS36ENxs"
	hashOfAllmine = "$2a$10$XajjQvNhvvRt5GSeFk1xFeyqRrsxkhBkUiQeg0dt.wU1qD4aFDcga"
)

func opsUsers() map[string]BasicUsersConfig {
	return map[string]BasicUsersConfig{"ops": {AtOnce: 2, Users: []BasicUserRow{
		{Name: "anna", Hash: hashOfSecret, Scopes: []string{"read"}, Claims: map[string]string{"team": "ops"}},
		{Name: "jürgen", Hash: hashOfSecret},
	}}}
}

func pair(text string) string { return "Basic " + base64.StdEncoding.EncodeToString([]byte(text)) }

// login asks with that Authorization over TLS.
func (r *route) login(field string) (*pipeline.Memory, error) {
	return r.over(pipeline.NewTLS("", nil), func(m *pipeline.Memory) {
		if field != "" {
			m.WithHeader("Authorization", field)
		}
	})
}

const basicChallenge = `Basic realm="oncegate", charset="UTF-8"`

// Case 67: whatever is wrong with a name and password, the answer is the same.
func TestBasic(t *testing.T) {
	a := listedAuthority(t, Deps{Users: opsUsers()})
	r := newRoute(t, a, Config{Basic: []string{"ops"}}, ForwardConfig{Claims: map[string]string{"X-User": "sub", "X-Team": "team"}})
	for field, want := range map[string]string{pair("anna:secret"): "anna", "bASIC  " + pair("anna:secret")[6:]: "anna", pair("jürgen:secret"): "jürgen"} {
		for range 2 { // hashed, and known
			m, err := r.login(field)
			if err != nil || m.Client.Subject != want || m.Client.Identity != BasicIdentity("ops", want) || m.Client.Issuer != "ops" {
				t.Fatalf("%s: %v, %+v", field, err, m.Client)
			}
		}
	}
	long := strings.Repeat("a", maxPair)
	for field, want := range map[string]Reason{
		pair("anna:Secret"): WrongPassword, pair("anna:"): WrongPassword, pair("anna:secret "): WrongPassword, pair("anna:secret:"): WrongPassword,
		pair("nobody:secret"): UnknownUser, pair("ANNA:secret"): UnknownUser, pair(":secret"): UnknownUser, pair(" anna:secret"): UnknownUser,
		pair("anna"): MalformedBasic, pair(""): MalformedBasic, "Basic": MalformedBasic, "Basic ": MalformedBasic, "Basic !!!": MalformedBasic,
		"Basic YW5uYTpzZWNyZXR=": MalformedBasic, "Basic " + strings.TrimRight(pair("anna:secre")[6:], "="): MalformedBasic, "Basic YW5u YTpz": MalformedBasic,
		pair("anna:secret") + ", Bearer x": MalformedBasic, pair("anna:sec\x00ret"): MalformedBasic, pair("an\nna:secret"): MalformedBasic, pair("anna:secr\xffet"): MalformedBasic,
		pair("anna:" + long): MalformedBasic, pair(long[:maxUserName+1] + ":x"): MalformedBasic, "Bearer x": OtherScheme, "Basics " + pair("anna:secret")[6:]: OtherScheme, "": NoCredential,
	} {
		for range 2 {
			m, err := r.login(field)
			if err != want || !m.Client.Anonymous() || string(m.Sent.Header("WWW-Authenticate")) != basicChallenge || string(m.Sent.Header("Cache-Control")) != "no-store" {
				t.Errorf("%q: %v, want %v; %q", field, err, want, m.Sent.Header("WWW-Authenticate"))
			}
		}
	}
	m := pipeline.NewMemory("GET", "/").WithHeader("Authorization", pair("anna:secret"))
	m.Secure = true
	needs := newRoute(t, a, Config{Basic: []string{"ops"}, Require: Require{Scopes: []string{"write"}}}, ForwardConfig{})
	if err := needs.handler.Serve(context.Background(), &m.Exchange); err != MissingScope {
		t.Errorf("%v", err)
	}
}

// A password in the clear is refused unjudged, and nothing asks for one.
func TestPasswordsNeedTLS(t *testing.T) {
	a := listedAuthority(t, Deps{Users: opsUsers()})
	only := newRoute(t, a, Config{Basic: []string{"ops"}}, ForwardConfig{})
	both := newRoute(t, a, Config{Basic: []string{"ops"}, Issuers: []string{"main"}}, ForwardConfig{})
	for _, c := range []struct {
		peer, client string
		secure, fine bool
	}{
		{"192.0.2.1", "192.0.2.1", false, false}, {"192.0.2.1", "192.0.2.1", true, true}, {"127.0.0.1", "127.0.0.1", false, true}, {"::1", "::1", false, true},
		{"127.0.0.1", "192.0.2.1", false, false}, {"192.0.2.1", "127.0.0.1", false, false}, {"127.0.0.1", "192.0.2.1", true, true},
	} {
		for _, r := range []*route{only, both} {
			for field, good := range map[string]bool{pair("anna:secret"): true, pair("anna:wrong"): false, "": false} {
				m, err := r.over(nil, func(m *pipeline.Memory) {
					m.Peer, m.ClientIP, m.Secure = netip.AddrPortFrom(netip.MustParseAddr(c.peer), 1), netip.MustParseAddr(c.client), c.secure
					if field != "" {
						m.WithHeader("Authorization", field)
					}
				})
				invited := strings.Contains(string(m.Sent.Header("WWW-Authenticate")), "Basic")
				switch {
				case c.fine && (err == nil) != good, !c.fine && err == nil, !c.fine && invited:
					t.Errorf("%+v, %q: %v, invited %v", c, field, err, invited)
				case !c.fine && field != "" && err != PlainText, !c.fine && field == "" && r == only && err != PlainText, !c.fine && field == "" && r == both && err != NoCredential:
					t.Errorf("%+v, %q: %v", c, field, err)
				}
			}
		}
	}
}

// Passwords and tokens share a field; the scheme tells which is meant.
func TestBasicBesideTokens(t *testing.T) {
	r := newRoute(t, listedAuthority(t, Deps{Users: opsUsers()}), Config{Basic: []string{"ops"}, Issuers: []string{"main"}}, ForwardConfig{})
	for field, want := range map[string]error{"Bearer " + hs(): nil, pair("anna:secret"): nil, "Bearer " + pair("anna:secret")[6:]: Malformed, "Basic " + hs(): MalformedBasic, "": NoCredential, "Digest x": OtherScheme} {
		m, err := r.login(field)
		if err != want {
			t.Errorf("%.20q: %v", field, err)
		}
		if want == NoCredential && len(m.Sent.Values("WWW-Authenticate")) != 2 {
			t.Errorf("challenges: %q", m.Sent.Values("WWW-Authenticate"))
		}
	}
}

// So many passwords are hashed at a time; the next wait for a bounded time, and then nobody says that theirs was wrong.
func TestPasswordsWaitForAPlace(t *testing.T) {
	a := listedAuthority(t, Deps{Users: opsUsers()})
	r := newRoute(t, a, Config{Basic: []string{"ops"}}, ForwardConfig{})
	l := a.users["ops"]
	if _, err := r.login(pair("anna:secret")); err != nil {
		t.Fatal(err)
	}
	l.slots <- struct{}{}
	l.slots <- struct{}{}
	if _, err := r.login(pair("anna:secret")); err != nil {
		t.Errorf("a password that is known: %v", err)
	}
	soon := func(m *pipeline.Memory) {
		m.WithHeader("Authorization", pair("jürgen:secret"))
		m.Start = time.Now()
		m.Deadline = m.Start.Add(30 * time.Millisecond)
	}
	start := time.Now()
	m, err := r.over(pipeline.NewTLS("", nil), soon)
	if waited := time.Since(start); err != BusyWithPasswords || pipeline.KindOf(err) != pipeline.Overloaded || m.Problem.RetryAfter != 1 || m.Sent.Header("WWW-Authenticate") != nil || waited > time.Second {
		t.Errorf("%v after %v, retry after %d", err, waited, m.Problem.RetryAfter)
	}
	l.waiting.Store(maxWaiting)
	if _, err = r.login(pair("jürgen:secret")); err != BusyWithPasswords {
		t.Errorf("a long queue: %v", err)
	}
	l.waiting.Store(0)
	<-l.slots
	if _, err := r.login(pair("jürgen:secret")); err != nil {
		t.Errorf("a free place: %v", err)
	}
	<-l.slots
	l.users["jürgen"].proven.Store(nil)
	var all sync.WaitGroup
	for range 20 {
		mine := newRoute(t, a, Config{Basic: []string{"ops"}}, ForwardConfig{}) // a route counts for one goroutine
		all.Go(func() {
			if _, err := mine.login(pair("jürgen:secret")); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if len(l.slots) != 0 || l.waiting.Load() != 0 {
		t.Errorf("%d places, %d waiting", len(l.slots), l.waiting.Load())
	}
}

// A reload keeps what was proven of users that it does not change, and forgets what it knew of the others.
func TestReloadsOfUsers(t *testing.T) {
	first := listedAuthority(t, Deps{Users: opsUsers()})
	again := func(change func(*BasicUsersConfig)) *Authority {
		cfg := opsUsers()["ops"]
		change(&cfg)
		a, err := NewAuthority(nil, first, Deps{Users: map[string]BasicUsersConfig{"ops": cfg}})
		if err != nil {
			t.Fatal(err)
		}
		return a
	}
	ask := func(a *Authority, field string) (Reason, bool) {
		layer, err := newGate(Config{Basic: []string{"ops"}}, forward{}, a)
		if err != nil {
			t.Fatal(err)
		}
		m := pipeline.NewMemory("GET", "/").WithHeader("Authorization", field)
		m.Secure = true
		sent := layer.credentials(&m.Exchange)
		who := layer.identify(&m.Exchange, &sent)
		return who.reason, who.cached
	}
	for _, field := range []string{pair("anna:secret"), pair("anna:wrong")} {
		before, _ := ask(first, field)
		if reason, cached := ask(first, field); reason != before || !cached {
			t.Errorf("%v, cached %v", reason, cached)
		}
	}
	if same := again(func(*BasicUsersConfig) {}); same.users["ops"] != first.users["ops"] {
		t.Error("made anew without a change")
	}
	scoped := again(func(c *BasicUsersConfig) { c.Users[0].Scopes = []string{"write"} })
	if reason, cached := ask(scoped, pair("anna:secret")); reason != accepted || !cached || scoped.users["ops"].users["anna"].claims.scopes[0] != "write" {
		t.Errorf("%v, cached %v", reason, cached)
	}
	rotated := again(func(c *BasicUsersConfig) { c.Users[0].Hash = hashOfAllmine })
	if reason, cached := ask(rotated, pair("anna:secret")); reason != WrongPassword || cached {
		t.Errorf("the old password: %v, cached %v", reason, cached)
	}
	gone := again(func(c *BasicUsersConfig) { c.Users = c.Users[1:] })
	if reason, _ := ask(gone, pair("anna:secret")); reason != UnknownUser {
		t.Errorf("a user who is gone: %v", reason)
	}
	u := first.users["ops"].users["anna"]
	p := *u.proven.Load()
	if p.until = time.Now().Add(-time.Second); u.isProven(&p.mac, p.until.Add(-time.Second)) != true || u.isProven(&p.mac, time.Now().Add(provenLife+time.Second)) {
		t.Error("proven for ever")
	}
}

// An unknown name takes as long as a wrong password: the best of some tries, so that a busy machine does not count.
func TestUnknownUsersTakeAsLong(t *testing.T) {
	users := opsUsers()
	r := newRoute(t, listedAuthority(t, Deps{Users: users}), Config{Basic: []string{"ops"}}, ForwardConfig{})
	best := map[string]time.Duration{"anna": time.Hour, "nobody": time.Hour}
	for i := range 20 {
		for name := range best {
			start := time.Now()
			if _, err := r.login(pair(name + ":" + strings.Repeat("x", i+1))); pipeline.KindOf(err) != pipeline.Unauthenticated {
				t.Fatal(err)
			}
			best[name] = min(best[name], time.Since(start))
		}
	}
	if ratio := float64(best["anna"]) / float64(best["nobody"]); ratio < 0.05 || ratio > 20 { // without a hash it is a thousandth; a busy machine makes single hashes six times slower
		t.Errorf("known %v, unknown %v", best["anna"], best["nobody"])
	}
}

func TestBasicUsersAreChecked(t *testing.T) {
	for _, c := range []struct {
		rows []BasicUserRow
		want string
	}{
		{opsUsers()["ops"].Users, ""}, {nil, "basic_users.ops"}, {[]BasicUserRow{{Name: "a:b", Hash: hashOfSecret}}, "users[0].name"}, {[]BasicUserRow{{Name: " a", Hash: hashOfSecret}}, "users[0].name"},
		{[]BasicUserRow{{Name: "a\x00", Hash: hashOfSecret}}, "users[0].name"}, {[]BasicUserRow{{Name: strings.Repeat("a", 129), Hash: hashOfSecret}}, "users[0].name"},
		{[]BasicUserRow{{Name: "a", Hash: hashOfSecret}, {Name: "a", Hash: hashOfSecret}}, "users[1].name"}, {[]BasicUserRow{{Name: "a", Hash: "letmein"}}, "users[0].hash"},
		{[]BasicUserRow{{Name: "a", Hash: hashOfSecret, Claims: map[string]string{"iss": "x"}}}, "claims.iss"},
	} {
		p := units.NewProblems()
		(&BasicUsersConfig{Users: c.rows}).Validate(p.Key("basic_users").Key("ops"))
		found := p.List()
		if c.want == "" && len(found) > 0 || c.want != "" && (len(found) != 1 || !strings.Contains(found[0].Path, c.want) || strings.Contains(found[0].Message, "letmein")) {
			t.Errorf("%+v: %v, want %s", c.rows, found, c.want)
		}
	}
	for name, lists := range map[string]map[string]BasicUsersConfig{
		"name of the list": {"a|b": opsUsers()["ops"]}, "no user": {"a": {}}, "hash": {"a": {Users: []BasicUserRow{{Name: "a", Hash: "x"}}}},
		"twice": {"a": {Users: []BasicUserRow{{Name: "a", Hash: hashOfSecret}, {Name: "a", Hash: hashOfSecret}}}}, "user": {"a": {Users: []BasicUserRow{{Name: "", Hash: hashOfSecret}}}},
	} {
		if _, err := NewAuthority(nil, nil, Deps{Users: lists}); err == nil || strings.Contains(err.Error(), "c29tZXNhbHQ") {
			t.Errorf("%s: %v", name, err)
		}
	}
	a := listedAuthority(t, Deps{Users: map[string]BasicUsersConfig{"a": opsUsers()["ops"], "b": opsUsers()["ops"]}})
	for _, names := range [][]string{{"a", "b"}, {"none"}} {
		if _, err := New(Config{Basic: names}, ForwardConfig{}, a); err == nil {
			t.Errorf("%v was compiled", names)
		}
	}
}

func TestKnownPasswordsAllocateNothing(t *testing.T) {
	r := newRoute(t, listedAuthority(t, Deps{Users: opsUsers()}), Config{Basic: []string{"ops"}}, ForwardConfig{})
	x := &pipeline.Exchange{}
	var answer pipeline.Response = bareAnswer{}
	for name, field := range map[string]string{"right": pair("anna:secret"), "wrong again": pair("anna:wrong"), "unknown again": pair("nobody:x"), "malformed": "Basic !"} {
		b := &bare{field: []byte(field)}
		ask := func() error {
			x.Begin(b, answer, nil)
			x.Secure = true
			return r.handler.Serve(context.Background(), x)
		}
		first := ask()
		if n := testing.AllocsPerRun(200, func() { _ = ask() }); n != 0 || (first == nil) != (name == "right") {
			t.Errorf("%s (%v): %v allocations", name, first, n)
		}
	}
}

func BenchmarkKnownPassword(b *testing.B) {
	r := newRoute(b, listedAuthority(b, Deps{Users: opsUsers()}), Config{Basic: []string{"ops"}}, ForwardConfig{})
	x, in := &pipeline.Exchange{}, &bare{field: []byte(pair("anna:secret"))}
	b.ReportAllocs()
	for b.Loop() {
		x.Begin(in, bareAnswer{}, nil)
		x.Secure = true
		if err := r.handler.Serve(context.Background(), x); err != nil {
			b.Fatal(err)
		}
	}
}

// FuzzBasicPair: what is taken is what was written, in its one spelling.
func FuzzBasicPair(f *testing.F) {
	for _, field := range []string{pair("anna:secret"), "Basic", "Basic  YTpi", "basic YTpi====", pair("a:\xff"), pair(":")} {
		f.Add([]byte(field))
	}
	f.Fuzz(func(t *testing.T, field []byte) {
		if !isBasic(field) {
			return
		}
		var room [maxPair]byte
		name, secret, ok := basicPair(room[:], field)
		if !ok {
			return
		}
		text := strings.TrimLeft(string(field[len("basic"):]), " ")
		if again := base64.StdEncoding.EncodeToString([]byte(string(name) + ":" + string(secret))); again != text {
			t.Errorf("%q gave %q and %q", field, name, secret)
		}
		if len(name) > maxUserName || strings.Contains(string(name), ":") || !isText(name) || !isText(secret) {
			t.Errorf("%q gave %q and %q", field, name, secret)
		}
	})
}

// An address that guesses is not listened to for a while: nothing is hashed for it, whatever it sends. What is known to be
// right or wrong is answered as before, other addresses notice nothing, and neither do tokens.
func TestGuessesAreCharged(t *testing.T) {
	a := listedAuthority(t, Deps{Users: opsUsers(), FailedShare: 0.01})
	r := newRoute(t, a, Config{Basic: []string{"ops"}, Issuers: []string{"main"}}, ForwardConfig{})
	start := time.Now()
	from := func(address, field string) (*pipeline.Memory, error) {
		return r.over(pipeline.NewTLS("", nil), func(m *pipeline.Memory) {
			m.ClientIP, m.Start = netip.MustParseAddr(address), start
			m.WithHeader("Authorization", field)
		})
	}
	if _, err := from("192.0.2.1", pair("anna:secret")); err != nil {
		t.Fatal(err)
	}
	judged := 0
	var last *pipeline.Memory
	for i := range 40 {
		name := []string{"anna", "nobody"}[i%2] // a name that is not there costs as much
		m, err := from("192.0.2.1", pair(name+":"+strings.Repeat("x", i+1)))
		switch err {
		case WrongPassword, UnknownUser:
			judged++
		case TooManyFailures:
			last = m
		default:
			t.Fatalf("%d: %v", i, err)
		}
	}
	if judged < 10 || judged > 11 { // 10 s at 1 % are 100 ms, of 10 ms each
		t.Errorf("%d guesses were judged", judged)
	}
	if last == nil || last.Problem.RetryAfter < 1 || last.Sent.Header("WWW-Authenticate") != nil {
		t.Errorf("%+v", last)
	}
	for name, c := range map[string]struct {
		from, field string
		want        error
	}{
		"known to be right": {"192.0.2.1", pair("anna:secret"), nil}, "known to be wrong": {"192.0.2.1", pair("anna:x"), WrongPassword}, "right, and not known": {"192.0.2.1", pair("jürgen:secret"), TooManyFailures},
		"another address": {"192.0.2.2", pair("jürgen:wrong"), WrongPassword}, "a token": {"192.0.2.1", "Bearer " + hs(), nil}, "malformed: its sender knows": {"192.0.2.1", pair("anna"), MalformedBasic},
	} {
		if _, err := from(c.from, c.field); err != c.want {
			t.Errorf("%s: %v", name, err)
		}
	}
	start = start.Add(15 * time.Second)
	if _, err := from("192.0.2.1", pair("anna:secre")); err != WrongPassword {
		t.Errorf("paid back: %v", err)
	}
}
