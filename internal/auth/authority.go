package auth

import (
	"crypto/rand"
	"crypto/x509"
	"fmt"
	"log/slog"
	"reflect"
	"slices"
	"time"

	"github.com/oncegate/oncegate/internal/auth/dpop"
	"github.com/oncegate/oncegate/internal/auth/introspect"
	"github.com/oncegate/oncegate/internal/auth/keyset"
	"github.com/oncegate/oncegate/internal/auth/revoke"
)

// Recorder is told what happened, for metrics. Issuers are names of the document, "" when none was found; reasons are
// words of Reason.Word. A nil Recorder is nobody.
type Recorder interface {
	Authenticated(issuer string, cached bool)
	Refused(issuer, reason string)
	KeysFetched(issuer string, err error)
}

type nobody struct{}

func (nobody) Authenticated(string, bool) {}
func (nobody) Refused(string, string)     {}
func (nobody) KeysFetched(string, error)  {}

// Deps are what an Authority works with besides issuers. All of it may be left out.
type Deps struct {
	Logger   *slog.Logger
	Recorder Recorder

	APIKeys     map[string]APIKeysConfig              // lists by name
	Clients     map[string]ClientCertificatesConfig   // lists by name
	Users       map[string]BasicUsersConfig           // lists by name
	Revocations *revoke.List                          // nil: the old authority's, or one of its own
	Store       revoke.Store                          // where Revoke tells other nodes; nil: there are none
	Compile     func(text string) (Expression, error) // of Require.Expression; nil: expressions are errors
	Replays     dpop.Replays                          // nil: proofs that were used are known to this process only
	Nonces      *dpop.Nonces                          // nil: this process's own

	FailedShare  float64 // of a processor, for failing tokens of one client address; 0: not limited
	Introspected func(issuer string, took time.Duration, err error)
}

// Authority knows all issuers of one document: their keys, and the tokens that were verified. It is immutable; a reload
// makes a new one that takes over what has not changed.
type Authority struct {
	issuers  map[string]*issuer
	lists    map[string]*keyList
	hidden   []string // headers of all lists, in lower case
	certs    map[string]*certList
	users    map[string]*userList
	revoked  *revoke.List
	store    revoke.Store
	share    float64 // of a processor, for failing tokens of one address; 0: not limited
	compile  func(text string) (Expression, error)
	shared   *shared
	proofs   dpop.Shared
	logger   *slog.Logger
	recorder Recorder

	introspected func(issuer string, took time.Duration, err error)
}

// shared is what lives on from one document to the next.
type shared struct {
	cache    *cache
	failures failures
	flights  flights
	headers  memo
	replays  *dpop.Memory
	nonces   *dpop.Nonces
	budget   *budget
	key      [32]byte // random: of hashes that never leave the process
}

// issuer is one issuer, ready for use, and immutable.
type issuer struct {
	name             string
	cfg              IssuerConfig
	profile          uint64 // changes with any setting or key file: what was verified under others is not found
	allowed          []*keyset.Algorithm
	typ              string
	leeway, lifetime float64 // seconds
	keys             source
	proofs           *dpop.Checker  // nil: tokens that are bound to a key are refused
	remote           *keyset.Remote // nil unless keys come from a URL
	local            *keyset.Set    // nil when they do

	asks  *introspect.Client // nil unless tokens are asked about
	mark  *keyset.Key        // then: stands for the key that a token was verified with
	roots *x509.CertPool     // then
}

// source gives the keys to use now.
type source interface {
	Current(now time.Time) (*keyset.Set, error)
}

type local struct{ set *keyset.Set }

func (l local) Current(time.Time) (*keyset.Set, error) { return l.set, nil }

func (i *issuer) takes(a *keyset.Algorithm) bool { return slices.Contains(i.allowed, a) }

// NewAuthority reads key files and begins to fetch key sets without waiting for them. What old has and the document has
// not changed is taken over, so that good keys survive a reload. Errors name the issuer and the file.
func NewAuthority(issuers map[string]IssuerConfig, old *Authority, deps Deps) (*Authority, error) {
	a := &Authority{
		issuers: make(map[string]*issuer, len(issuers)), logger: deps.Logger, recorder: deps.Recorder,
		revoked: deps.Revocations, store: deps.Store, compile: deps.Compile,
		share: deps.FailedShare, introspected: deps.Introspected,
	}
	if a.logger == nil {
		a.logger = slog.New(slog.DiscardHandler)
	}
	if a.recorder == nil {
		a.recorder = nobody{}
	}
	if old == nil {
		old = &Authority{}
		a.shared = &shared{cache: newCache(cacheEntries, cacheBytes), replays: dpop.NewMemory(0), nonces: dpop.NewNonces(), budget: newBudget()}
		_, _ = rand.Read(a.shared.key[:]) // never fails
	} else {
		a.shared = old.shared
	}
	a.keepRevocations(old)
	a.keepProofs(deps)
	if err := a.readLists(deps, old); err != nil {
		return nil, err
	}
	for name, cfg := range issuers { // files first: nothing is started for a document that fails
		i, err := a.prepare(name, cfg)
		if err != nil {
			return nil, fmt.Errorf("issuer %s: %w", name, err)
		}
		a.issuers[name] = i
	}
	for name, i := range a.issuers {
		a.issuers[name] = a.settle(i, old.issuers[name])
	}
	return a, nil
}

// readLists compiles the clients that the document names itself.
func (a *Authority) readLists(deps Deps, old *Authority) (err error) {
	if err = a.readKeys(deps.APIKeys); err != nil {
		return err
	}
	if a.certs, err = newCertLists(deps.Clients); err != nil {
		return err
	}
	a.users, err = a.newUserLists(deps.Users, old)
	return err
}

// prepare makes an issuer without its remote keys.
func (a *Authority) prepare(name string, cfg IssuerConfig) (*issuer, error) {
	i := &issuer{
		name: name, cfg: cfg, typ: mediaType(cfg.Typ),
		leeway: cfg.Leeway.Std().Seconds(), lifetime: cfg.MaxLifetime.Std().Seconds(),
	}
	if i.lifetime == 0 {
		i.lifetime = usualLifetime.Seconds()
	}
	if cfg.Issuer == "" || len(cfg.Audiences) == 0 {
		return nil, fmt.Errorf("issuer and audiences have to be given")
	}
	var err error
	if cfg.DPoP != nil {
		if i.proofs, err = dpop.New(*cfg.DPoP); err != nil {
			return nil, err
		}
	}
	if cfg.Introspection != nil {
		return i, i.prepareIntrospection()
	}
	if i.allowed, err = allowed(cfg); err != nil {
		return nil, err
	}
	switch {
	case cfg.Secret != "":
		i.local, err = keyset.FromSecret(cfg.Secret.Reveal(), i.allowed)
	case len(cfg.Keys) > 0:
		i.local, err = keyset.FromFiles(cfg.Keys, i.allowed)
	case cfg.Discovery:
		err = keyset.CheckIssuer(cfg.Issuer)
	default:
		err = keyset.CheckURL(cfg.JWKS)
	}
	i.keys = local{i.local}
	return i, err
}

// allowed gives the issuer's algorithms, of the one family that fits where its keys come from.
func allowed(cfg IssuerConfig) ([]*keyset.Algorithm, error) {
	var list []*keyset.Algorithm
	for _, name := range cfg.Algorithms {
		algorithm := keyset.Find(name)
		if algorithm == nil || (algorithm.Family == keyset.HMAC) != (cfg.Secret != "") {
			return nil, fmt.Errorf("algorithm %q can't be used", name)
		}
		list = append(list, algorithm)
	}
	if len(list) == 0 {
		return nil, fmt.Errorf("no algorithms")
	}
	return list, nil
}

// settle takes old over where nothing has changed; else it gives the issuer a profile of its own, and the old keys if they
// still come from the same place.
func (a *Authority) settle(i, old *issuer) *issuer {
	if old != nil && reflect.DeepEqual(i.cfg, old.cfg) && i.local.Same(old.local) && i.roots.Equal(old.roots) {
		return old
	}
	i.profile = a.shared.cache.profiles.Add(1)
	switch {
	case i.local != nil:
		return i
	case i.cfg.Introspection != nil:
		a.settleIntrospection(i, old)
		return i
	}
	if old != nil && old.remote != nil && i.cfg.sameSource(&old.cfg) && slices.Equal(old.allowed, i.allowed) {
		i.remote = old.remote
	} else {
		i.remote = keyset.NewRemote(keyset.RemoteConfig{
			URL: i.cfg.JWKS, Issuer: i.cfg.Issuer, Hosts: i.cfg.JWKSHosts, Algorithms: i.allowed, Observe: a.observer(i.name),
		})
	}
	i.keys = i.remote
	return i
}

// sameSource reports that keys come over the wire from the same place.
func (c *IssuerConfig) sameSource(other *IssuerConfig) bool {
	if c.JWKS != other.JWKS || c.Discovery != other.Discovery {
		return false
	}
	return !c.Discovery || c.Issuer == other.Issuer && slices.Equal(c.JWKSHosts, other.JWKSHosts)
}

// observer logs a change of keys with what is doubtful about them, and of a row of failures the first.
func (a *Authority) observer(name string) func(keyset.Fetched) {
	failing := false
	return func(f keyset.Fetched) {
		a.recorder.KeysFetched(name, f.Err)
		switch {
		case f.Err != nil && !failing:
			a.logger.Warn("keys could not be fetched; the last good ones stay in use", "issuer", name, "error", f.Err.Error())
		case f.Err == nil && (f.Changed || failing):
			a.logger.Info("keys fetched", "issuer", name, "keys", f.Keys, "skipped", f.Skipped)
		}
		for _, doubt := range f.Doubts {
			a.logger.Warn("some tokens will find no key of the issuer", "issuer", name, "why", doubt)
		}
		failing = f.Err != nil
	}
}

// Ready gives the issuers that have no keys to verify with, and why: keyset.ErrNotLoaded or keyset.ErrStale.
func (a *Authority) Ready() map[string]error {
	missing := map[string]error{}
	now := time.Now()
	for name, i := range a.issuers {
		if _, err := i.keys.Current(now); err != nil {
			missing[name] = err
		}
	}
	return missing
}
