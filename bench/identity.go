package main

import (
	"context"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"

	"github.com/oncegate/oncegate/internal/auth"
	"github.com/oncegate/oncegate/internal/pipeline"
	"github.com/oncegate/oncegate/internal/units"
)

// identity times the auth layer in this process, without a network, against the bare check of one RS256 signature. Of each the
// fastest batch counts: a loaded machine only ever adds.
type identity struct {
	key      *rsa.PrivateKey
	cfg      auth.IssuerConfig
	tokens   [][]byte // good ones, as fields
	forged   [][]byte
	oversize []byte
}

const (
	identityTokens = 128
	identityBatch  = 32 // short, so that some of them are left alone by the machine
)

func (b *bench) identity() error {
	w, err := b.newIdentity()
	if err != nil {
		return err
	}
	bare, seen, fresh, forged, oversize := longest, longest, longest, longest, longest
	for range 4 * (b.rounds + 1) {
		a, err := w.authority(0)
		if err != nil {
			return err
		}
		ask, err := w.asker(a)
		if err != nil {
			return err
		}
		ask(w.tokens[0]) // the issuer's header has been seen
		for at := 0; at < identityTokens; at += identityBatch {
			bare = min(bare, timed(identityBatch, w.bare))
			fresh = min(fresh, timed(identityBatch, func(n int) { ask(w.tokens[1+at+n]) }))
			forged = min(forged, timed(identityBatch, func(n int) { ask(w.forged[at+n]) }))
			seen = min(seen, timed(10*identityBatch, func(n int) { ask(w.tokens[1+n%8]) }))
			oversize = min(oversize, timed(10*identityBatch, func(int) { ask(w.oversize) }))
		}
		a.Close()
	}
	allocations, err := w.allocations()
	if err != nil {
		return err
	}
	fmt.Printf("identity: the auth layer by itself, against the bare RS256 check of %.1f us in the same run; fastest of %d batches of %d\n",
		us(bare), 4*(b.rounds+1)*identityTokens/identityBatch, identityBatch)
	row := func(name string, took, aim time.Duration, more string) {
		verdict := "met"
		if took > aim {
			verdict = "MISSED"
		}
		fmt.Printf("  %-28s %7.2f us   %6.3f of the bare check   aim %6.2f us: %s%s\n", name, us(took), float64(took)/float64(bare), us(aim), verdict, more)
	}
	row("token seen before", seen, 2*time.Microsecond, fmt.Sprintf(", %.2f allocations", allocations))
	row("new RS256 token", fresh, bare+8*time.Microsecond, fmt.Sprintf(", %+.1f us", us(fresh-bare)))
	row("forged RS256 token", forged, bare+3*time.Microsecond, fmt.Sprintf(", %+.1f us", us(forged-bare)))
	row("token over 8 KiB", oversize, time.Microsecond, "")
	return w.flood()
}

// flood compares the processor time of forged tokens from one address with and without the default budget.
func (w *identity) flood() error {
	const tokens = 30000
	var took [2]time.Duration
	for i, share := range []float64{0, 0.01} {
		a, err := w.authority(share)
		if err != nil {
			return err
		}
		ask, err := w.asker(a)
		if err != nil {
			return err
		}
		field := []byte(strings.Clone(string(w.forged[0])))
		tail := field[len(field)-20:]
		before := ownCPU()
		for n := range tokens {
			copy(tail, fmt.Sprintf("%018dAA", n))
			ask(field)
		}
		took[i] = ownCPU() - before
		a.Close()
	}
	fmt.Printf("  %-28s %.3f of the processor time that it takes without a budget (%s, %s)\n\n",
		fmt.Sprintf("%d forged, one address", tokens), float64(took[1])/float64(took[0]), took[1].Round(time.Millisecond), took[0].Round(time.Millisecond))
	return nil
}

func (b *bench) newIdentity() (*identity, error) {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return nil, err
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, err
	}
	file := filepath.Join(b.dir, "identity.pem")
	if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private}), 0o600); err != nil {
		return nil, err
	}
	w := &identity{key: key, cfg: auth.IssuerConfig{
		Issuer: "https://id.test/", Audiences: []string{"api"}, Keys: []string{file}, Algorithms: []string{"RS256"},
		Leeway: units.Duration(30 * time.Second), MaxLifetime: units.Duration(24 * time.Hour),
	}}
	for n := range identityTokens + 1 {
		claims := map[string]any{"sub": "user-123456", "scope": "read write orders:read", "tenant": "a", "email": "alice@example.com",
			"roles": []string{"admin", "editor", "viewer"}, "client_id": "web-frontend", "jti": n}
		token, err := auth.Sign(w.cfg, claims, time.Now())
		if err != nil {
			return nil, err
		}
		w.tokens = append(w.tokens, []byte("Bearer "+token))
		w.forged = append(w.forged, []byte("Bearer "+token[:len(token)-20]+fmt.Sprintf("%018dAA", n)))
	}
	w.oversize = []byte("Bearer " + strings.Repeat("a.", 5000))
	return w, nil
}

// authority is a new one: it has seen nothing.
func (w *identity) authority(share float64) (*auth.Authority, error) {
	return auth.NewAuthority(map[string]auth.IssuerConfig{"main": w.cfg}, nil, auth.Deps{FailedShare: share})
}

// asker sends fields through a route's layer in an exchange that allocates nothing itself.
func (w *identity) asker(a *auth.Authority) (func(field []byte), error) {
	layer, err := auth.New(auth.Config{Issuers: []string{"main"}, Require: auth.Require{Scopes: []string{"read"}}}, auth.ForwardConfig{Claims: map[string]string{"X-User": "sub"}}, a)
	if err != nil {
		return nil, err
	}
	handler := layer(pipeline.HandlerFunc(func(context.Context, *pipeline.Exchange) error { return nil }))
	m := pipeline.NewMemory("GET", "/")
	request, address := &lone{}, m.ClientIP
	var answer pipeline.Response = silent{}
	return func(field []byte) {
		request.field = field
		m.Begin(request, answer, nil)
		m.ClientIP = address
		_ = handler.Serve(context.Background(), &m.Exchange)
	}, nil
}

func (w *identity) bare(int) {
	token := w.tokens[0][len("Bearer "):]
	dot := strings.LastIndexByte(string(token), '.')
	signature, _ := base64.RawURLEncoding.DecodeString(string(token[dot+1:]))
	sum := sha256.Sum256(token[:dot])
	_ = rsa.VerifyPKCS1v15(&w.key.PublicKey, crypto.SHA256, sum[:], signature)
}

// allocations are those of a token that was seen before.
func (w *identity) allocations() (float64, error) {
	a, err := w.authority(0.01)
	if err != nil {
		return 0, err
	}
	defer a.Close()
	ask, err := w.asker(a)
	if err != nil {
		return 0, err
	}
	ask(w.tokens[0])
	const calls = 10000
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	for range calls {
		ask(w.tokens[0])
	}
	runtime.ReadMemStats(&after)
	return float64(after.Mallocs-before.Mallocs) / calls, nil
}

const longest = time.Duration(math.MaxInt64)

// timed gives the time of one of n calls.
func timed(n int, f func(n int)) time.Duration {
	start := time.Now()
	for i := range n {
		f(i)
	}
	return time.Since(start) / time.Duration(n)
}

func us(d time.Duration) float64 { return float64(d) / float64(time.Microsecond) }

func ownCPU() time.Duration {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// lone is a request of one field.
type lone struct {
	pipeline.Request
	field []byte
}

func (l *lone) Header(string) []byte         { return l.field }
func (l *lone) Query() []byte                { return nil }
func (l *lone) Fields() int                  { return 0 }
func (l *lone) Field(int) (name, val []byte) { return nil, nil }

type silent struct{ pipeline.Response }

func (silent) Set(string, []byte) {}
func (silent) Add(string, []byte) {}
