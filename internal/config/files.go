package config

import (
	"crypto/tls"
	"crypto/x509"
	"maps"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/oncegate/oncegate/internal/edge"
	"github.com/oncegate/oncegate/internal/flags"
	"github.com/oncegate/oncegate/internal/units"
)

// Files reads the files that the document names, as a start would: keys of issuers, certificates. The error is an *Error
// with every problem; what is none, but should be known, joins the warnings. Nothing is opened for writing and nothing is fetched.
func (r *Result) Files() error {
	found, doubts := units.NewProblems(), units.NewProblems()
	for _, name := range slices.Sorted(maps.Keys(r.Document.Issuers)) {
		cfg := r.Document.Issuers[name]
		cfg.CheckFiles(found.Key("issuers").Key(name), doubts.Key("issuers").Key(name))
	}
	if t := r.Document.Signing; t != nil {
		t.CheckFiles(found.Key("internal_token"))
	}
	if t := r.Document.Listen.TLS; t != nil {
		for i, c := range t.Certificates {
			if _, err := tls.LoadX509KeyPair(c.Cert, c.Key); err != nil {
				found.Key("listen").Key("tls").Key("certificates").Index(i).Add("can't load %s with %s: %s", c.Cert, c.Key, reason(err))
			}
		}
		if t.ClientCA != "" {
			if _, err := edge.ReadRoots(t.ClientCA); err != nil {
				found.Key("listen").Key("tls").Key("client_ca").Add("%s", err)
			}
		}
	}
	for _, name := range slices.Sorted(maps.Keys(r.Document.Upstreams)) {
		at, t := found.Key("upstreams").Key(name).Key("tls"), r.Document.Upstreams[name].TLS
		if t.CA != "" {
			checkRoots(at.Key("ca"), t.CA)
		}
		if t.Cert != "" && t.Key != "" {
			checkPair(at.Key("cert"), doubts.Key("upstreams").Key(name).Key("tls").Key("cert"), t.Cert, t.Key)
		}
	}
	if t := r.Document.State.Redis.TLS; t != nil && t.CA != "" && r.Document.State.Store == "redis" {
		checkRoots(found.Key("state").Key("redis").Key("tls").Key("ca"), t.CA)
	}
	r.checkFlags(found)
	for _, name := range slices.Sorted(maps.Keys(r.Document.Vaults)) {
		if ca := r.Document.Vaults[name].CA; ca != "" {
			checkRoots(found.Key("vaults").Key(name).Key("ca"), ca)
		}
	}
	r.Warnings = finish(append(r.Warnings, located(doubts, r.root, r.file)...), r.lines, r.clean)
	report := newReport(r.file)
	report.take(r.root, found.List())
	return report.err(r.lines, r.clean)
}

// checkFlags reads the file of feature flags, and finds flags that routes ask for and the file has not: they would be off
// for ever, in silence.
func (r *Result) checkFlags(found units.Problems) {
	cfg := r.Document.Flags
	if cfg == nil {
		return
	}
	known, err := flags.Read(cfg.File)
	if err != nil {
		found.Key("flags").Key("file").Add("%s", strings.TrimPrefix(err.Error(), "flags: "))
		return
	}
	for i := range r.Document.Routes {
		for j, arm := range r.Document.Routes[i].To.Split {
			if arm.When == nil || arm.When.Flag == "" {
				continue
			}
			if _, there := known[arm.When.Flag]; !there {
				at := found.Key("routes").Index(i).Key("to").Key("split").Index(j).Key("when").Key("flag")
				at.Unknown("flag", arm.When.Flag, sortedNames(known))
			}
		}
	}
}

// checkPair: a client certificate that has ended is refused by whom it is shown to. That is a doubt only: a gateway that is
// started again at night goes on with its other upstreams.
func checkPair(p, doubts units.Problems, cert, key string) {
	pair, err := tls.LoadX509KeyPair(cert, key)
	switch {
	case err != nil:
		p.Add("can't load %s with %s: %s", cert, key, reason(err))
	case pair.Leaf != nil && time.Now().After(pair.Leaf.NotAfter):
		doubts.Add("%s ended at %s", cert, pair.Leaf.NotAfter.UTC().Format(time.RFC3339))
	}
}

func checkRoots(p units.Problems, file string) {
	text, err := os.ReadFile(file)
	switch {
	case err != nil:
		p.Add("can't read %s: %s", file, reason(err))
	case !x509.NewCertPool().AppendCertsFromPEM(text):
		p.Add("%s holds no certificate in PEM form", file)
	}
}
