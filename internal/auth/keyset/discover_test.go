package keyset

import (
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// host is a real TLS server on loopback; what it says can be changed.
type host struct {
	*httptest.Server
	mu    sync.Mutex
	pages map[string]http.HandlerFunc
	asked map[string]int
	seen  atomic.Int64 // connections
}

func newHost(t *testing.T) *host {
	t.Helper()
	h := &host{pages: map[string]http.HandlerFunc{}, asked: map[string]int{}}
	h.Server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h.seen.Add(1)
		h.mu.Lock()
		page := h.pages[r.URL.Path]
		h.asked[r.URL.Path]++
		h.mu.Unlock()
		if page == nil {
			http.NotFound(w, r)
			return
		}
		page(w, r)
	}))
	h.Config.ErrorLog = log.New(io.Discard, "", 0) // it would tell of handshakes that are meant to fail
	h.StartTLS()
	t.Cleanup(h.Close)
	return h
}

func (h *host) does(path string, page http.HandlerFunc) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.pages[path] = page
}

func (h *host) says(path, text string) {
	h.does(path, func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, text) })
}

func (h *host) times(path string) int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.asked[path]
}

func configuration(issuer, keys string) string {
	return fmt.Sprintf(`{"issuer":%q,"jwks_uri":%q,"response_types_supported":["code"],"x":{"jwks_uri":"https://elsewhere.test/"}}`, issuer, keys)
}

// discovered is a Remote of that issuer with what each fetch brought.
func discovered(t *testing.T, h *host, issuer string, hosts ...string) (*Remote, func() Fetched) {
	t.Helper()
	ends := make(chan Fetched, 100)
	transport := newTransport()
	transport.TLSClientConfig = h.Client().Transport.(*http.Transport).TLSClientConfig.Clone()
	r := NewRemote(RemoteConfig{Issuer: issuer, Hosts: hosts, Algorithms: asymmetric, Transport: transport, Observe: func(f Fetched) { ends <- f }})
	t.Cleanup(r.Close)
	return r, func() Fetched {
		t.Helper()
		select {
		case f := <-ends:
			return f
		case <-time.After(20 * time.Second):
			t.Fatal("no fetch ends")
			return Fetched{}
		}
	}
}

// again causes a fetch now, whatever was asked for before.
func again(r *Remote) {
	r.mu.Lock()
	r.asked = time.Time{}
	r.mu.Unlock()
	r.Refresh(10 * time.Second)
}

// Issuers with and without a path and a slash at the end have one document each.
func TestDiscoveryFindsTheKeys(t *testing.T) {
	h := newHost(t)
	h.says("/keys", string(jwks(jwkOf(testKeys().p256, "a"))))
	for path, document := range map[string]string{
		"": "/.well-known/openid-configuration", "/": "/.well-known/openid-configuration",
		"/realms/one": "/realms/one/.well-known/openid-configuration", "/realms/two/": "/realms/two/.well-known/openid-configuration",
	} {
		h.says(document, configuration(h.URL+path, h.URL+"/keys"))
		r, fetched := discovered(t, h, h.URL+path)
		if f := fetched(); f.Err != nil || f.Keys != 1 || !f.Changed || !r.has("a") {
			t.Errorf("%q: %+v", path, f)
		}
	}
}

// Case 65 and its relatives: what is not to the letter what was configured gives no keys, and no host is asked that the
// configuration does not allow.
func TestHostileDocuments(t *testing.T) {
	h, other := newHost(t), newHost(t)
	good := string(jwks(jwkOf(testKeys().p256, "a")))
	h.says("/keys", good)
	other.says("/keys", good)
	plain := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("https led to http") }))
	defer plain.Close()
	where, _ := url.Parse(plain.URL)
	const at = "/.well-known/openid-configuration"
	redirect := func(to string) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, to, http.StatusFound) }
	}
	write := func(text string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, text) }
	}
	upper := strings.Replace(h.URL, "https", "HTTPS", 1)
	for name, c := range map[string]struct {
		page http.HandlerFunc
		want string
	}{
		"another issuer":          {write(configuration("https://evil.test", h.URL+"/keys")), `of the issuer "https://evil.test"`},
		"a slash more":            {write(configuration(h.URL+"/", h.URL+"/keys")), "of the issuer"},
		"another case":            {write(configuration(upper, h.URL+"/keys")), "of the issuer"},
		"no issuer":               {write(`{"jwks_uri":"` + h.URL + `/keys"}`), `of the issuer ""`},
		"two issuers":             {write(`{"issuer":"x","issuer":"` + h.URL + `","jwks_uri":"` + h.URL + `/keys"}`), "not a JSON object"},
		"issuer in another case":  {write(`{"Issuer":"` + h.URL + `","jwks_uri":"` + h.URL + `/keys"}`), `of the issuer ""`},
		"issuer is a list":        {write(`{"issuer":["` + h.URL + `"],"jwks_uri":"` + h.URL + `/keys"}`), "not a JSON object"},
		"a line break":            {write(configuration("a\nb", h.URL+"/keys")), `"a\nb"`},
		"no keys":                 {write(`{"issuer":"` + h.URL + `"}`), "no URL that keys are fetched from"},
		"another host":            {write(configuration(h.URL, other.URL+"/keys")), "neither the issuer's nor in jwks_hosts"},
		"a host that begins so":   {write(configuration(h.URL, h.URL+".evil.test/keys")), "no URL"},
		"a host after a user":     {write(configuration(h.URL, strings.Replace(other.URL, "//", "//"+h.Listener.Addr().String()+"@", 1))), "no URL"},
		"the metadata address":    {write(configuration(h.URL, "https://169.254.169.254/keys")), "neither"},
		"http elsewhere":          {write(configuration(h.URL, "http://id.test/keys")), "no URL"},
		"http on loopback":        {write(configuration(h.URL, plain.URL+"/keys")), "from https to http"},
		"a file":                  {write(configuration(h.URL, "file:///etc/passwd")), "no URL"},
		"HTML":                    {write("<html>log in</html>"), "not a JSON object"},
		"nothing":                 {write(""), "not a JSON object"},
		"null":                    {write("null"), "of the issuer"},
		"data after it":           {write(configuration(h.URL, h.URL+"/keys") + "{}"), "not a JSON object"},
		"as large as can be":      {write(configuration(h.URL, h.URL+"/keys") + strings.Repeat(" ", MaxDiscovery)), "more than 65536 bytes"},
		"a redirect":              {redirect(h.URL + "/moved"), "status 302"},
		"a redirect elsewhere":    {redirect(other.URL + at), "status 302"},
		"an error":                {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(500) }, "status 500"},
		"nothing new, unasked":    {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(304) }, "status 304"},
		"deep":                    {write(`{"issuer":` + strings.Repeat("[", 20000) + strings.Repeat("]", 20000) + `}`), "not a JSON object"},
		"the keys are a redirect": {write(configuration(h.URL, h.URL+"/away")), "fetch keys: status 302"},
		"the keys are nowhere":    {write(configuration(h.URL, h.URL+"/404")), "fetch keys: status 404"},
	} {
		h.says("/moved", configuration(h.URL, h.URL+"/keys"))
		other.says(at, configuration(h.URL, h.URL+"/keys"))
		h.does("/away", redirect(other.URL+"/keys"))
		h.does(at, c.page)
		r, fetched := discovered(t, h, h.URL, where.Host)
		f := fetched()
		if f.Err == nil || !strings.Contains(f.Err.Error(), c.want) || strings.Contains(f.Err.Error(), "\n") || strings.Contains(f.Err.Error(), "html") {
			t.Errorf("%s: %v", name, f.Err)
		}
		if _, err := r.Current(time.Now()); err != ErrNotLoaded {
			t.Errorf("%s: %v", name, err)
		}
		r.Close()
	}
	if h.times("/moved") != 0 || other.seen.Load() != 0 {
		t.Errorf("a redirect was followed, or another host was asked %d times", other.seen.Load())
	}
}

// Some providers keep their keys elsewhere; the configuration has to say so.
func TestKeysOnAnAllowedHost(t *testing.T) {
	h, other := newHost(t), newHost(t)
	other.says("/keys", string(jwks(jwkOf(testKeys().p256, "a"))))
	h.says("/.well-known/openid-configuration", configuration(h.URL, other.URL+"/keys"))
	r, fetched := discovered(t, h, h.URL, "keys.test", other.Listener.Addr().String())
	if f := fetched(); f.Err != nil || !r.has("a") {
		t.Errorf("%+v", f)
	}
}

// Keys are rotated, then moved to another URL; each fetch asks the document first. A document that turns bad leaves the last
// good keys.
func TestDiscoveryGoesOn(t *testing.T) {
	h := newHost(t)
	const at = "/.well-known/openid-configuration"
	tagged := func(body []byte) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			if r.Header.Get("If-None-Match") == `"same"` {
				w.WriteHeader(http.StatusNotModified)
				return
			}
			w.Header().Set("ETag", `"same"`)
			_, _ = w.Write(body)
		}
	}
	h.says(at, configuration(h.URL, h.URL+"/one"))
	h.does("/one", tagged(jwks(jwkOf(testKeys().p256, "a"))))
	r, fetched := discovered(t, h, h.URL)
	if f := fetched(); f.Err != nil || !r.has("a") {
		t.Fatalf("%+v", f)
	}
	again(r)
	if f := fetched(); f.Err != nil || f.Changed || f.Keys != 1 || h.times(at) != 2 || h.times("/one") != 2 {
		t.Errorf("not modified: %+v", f)
	}
	h.says(at, configuration(h.URL, h.URL+"/two"))
	h.does("/two", tagged(jwks(jwkOf(testKeys().other, "b")))) // the same tag there means something else
	again(r)
	if f := fetched(); f.Err != nil || !f.Changed || r.has("a") || !r.has("b") {
		t.Errorf("moved: %+v", f)
	}
	h.says(at, configuration("https://evil.test", h.URL+"/one"))
	again(r)
	if f := fetched(); f.Err == nil || !r.has("b") || h.times("/one") != 2 {
		t.Errorf("taken over: %+v", f)
	}
	h.says(at, configuration(h.URL, h.URL+"/one"))
	again(r)
	for f := fetched(); f.Err != nil; f = fetched() {
		t.Log(f.Err)
	}
	if !r.has("a") || r.has("b") {
		t.Error("not healed")
	}
}

// A slow provider delays neither the start nor the end.
func TestSlowProvider(t *testing.T) {
	h := newHost(t)
	entered := make(chan struct{}, 8)
	h.does("/.well-known/openid-configuration", func(w http.ResponseWriter, r *http.Request) {
		_, _ = w.Write([]byte(`{"issuer":`))
		_ = http.NewResponseController(w).Flush()
		entered <- struct{}{}
		<-r.Context().Done()
	})
	began := time.Now()
	r, _ := discovered(t, h, h.URL)
	<-entered
	if _, err := r.Current(time.Now()); err != ErrNotLoaded {
		t.Error(err)
	}
	r.Close()
	if took := time.Since(began); took > fetchTimeout {
		t.Errorf("it took %v", took)
	}
}

// A provider whose certificate nobody vouches for is not believed.
func TestUnknownCertificate(t *testing.T) {
	h := newHost(t)
	h.says("/.well-known/openid-configuration", configuration(h.URL, h.URL+"/keys"))
	ends := make(chan Fetched, 10)
	r := NewRemote(RemoteConfig{Issuer: h.URL, Algorithms: asymmetric, Observe: func(f Fetched) { ends <- f }})
	defer r.Close()
	if f := <-ends; f.Err == nil || h.seen.Load() != 0 {
		t.Errorf("%+v", f)
	}
}

func TestCheckIssuer(t *testing.T) {
	for _, good := range []string{"https://id.test", "https://id.test/", "https://id.test:8443/realms/a", "http://127.0.0.1:1/", "http://localhost", "http://[::1]:8/"} {
		if err := CheckIssuer(good); err != nil {
			t.Errorf("%s: %v", good, err)
		}
	}
	for _, bad := range []string{"", "id.test", "http://id.test/", "http://10.0.0.1/", "ftp://id.test/", "https://", "https://:443/", "https://u:p@id.test/", "https://id.test/?a=b", "https://id.test/?",
		"https://id.test/#f", "https://id.test/#", "urn:issuer", "http://127.0.0.1.evil.test/", "https://id.test/\x00"} {
		if CheckIssuer(bad) == nil {
			t.Errorf("%s is taken", bad)
		}
	}
}

func TestCheckHost(t *testing.T) {
	for _, good := range []string{"keys.test", "keys.test:8443", "127.0.0.1", "[::1]:99", "[::1]"} {
		if err := CheckHost(good); err != nil {
			t.Errorf("%s: %v", good, err)
		}
	}
	for _, bad := range []string{"", "https://keys.test", "keys.test/", "*.keys.test", "u@keys.test", "keys.test:x", ":443", "a b", "keys.test?x", "keys.test#x"} {
		if CheckHost(bad) == nil {
			t.Errorf("%s is taken", bad)
		}
	}
}

func FuzzDiscoveryDocument(f *testing.F) {
	p := &provider{issuer: "https://id.test/", hosts: []string{"keys.test"}}
	for _, keys := range []string{"https://id.test/k", "https://keys.test/k", "https://KEYS.test:443/k", "https://evil.test/k", "http://id.test/k", "https://id.test@evil.test/"} {
		f.Add([]byte(configuration("https://id.test/", keys)))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		found, err := p.read(body)
		if err != nil {
			return
		}
		u, err := url.Parse(found)
		if err != nil || u.Scheme != "https" || u.User != nil || (!strings.EqualFold(u.Hostname(), "id.test") && !strings.EqualFold(u.Hostname(), "keys.test")) || (u.Port() != "" && u.Port() != "443") {
			t.Errorf("%q leads to %q", body, found)
		}
	})
}
