package config

import (
	"crypto/tls"
	"crypto/x509"
	"maps"
	"os"
	"slices"

	"github.com/oncegate/oncegate/internal/units"
)

// Files reads the files that the document names, as a start would: keys of issuers, certificates. The error is an *Error
// with every problem. Nothing is opened for writing and nothing is fetched.
func (r *Result) Files() error {
	found := units.NewProblems()
	for _, name := range slices.Sorted(maps.Keys(r.Document.Issuers)) {
		cfg := r.Document.Issuers[name]
		cfg.CheckFiles(found.Key("issuers").Key(name))
	}
	if t := r.Document.Listen.TLS; t != nil {
		for i, c := range t.Certificates {
			if _, err := tls.LoadX509KeyPair(c.Cert, c.Key); err != nil {
				found.Key("listen").Key("tls").Key("certificates").Index(i).Add("can't load %s with %s: %s", c.Cert, c.Key, reason(err))
			}
		}
	}
	for _, name := range slices.Sorted(maps.Keys(r.Document.Upstreams)) {
		if ca := r.Document.Upstreams[name].TLS.CA; ca != "" {
			checkRoots(found.Key("upstreams").Key(name).Key("tls").Key("ca"), ca)
		}
	}
	if t := r.Document.State.Redis.TLS; t != nil && t.CA != "" && r.Document.State.Store == "redis" {
		checkRoots(found.Key("state").Key("redis").Key("tls").Key("ca"), t.CA)
	}
	report := newReport(r.file)
	report.take(r.root, found.List())
	return report.err(r.lines, r.clean)
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
