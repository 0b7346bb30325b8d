package main

import (
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"net/url"
	"os"
	"slices"
	"strings"

	"github.com/oncegate/oncegate/internal/gateway"
	"github.com/oncegate/oncegate/internal/pipeline"
	"github.com/oncegate/oncegate/internal/wire"
)

func explain(t terminal, args []string) int {
	set := flags(t, "explain")
	path := configFlag(set)
	var headers list
	set.Var(&headers, "H", "a request header, 'Name: value'; may repeat")
	cert := set.String("cert", "", "a client certificate in PEM form, taken for verified")
	line, code, ok := words(t, set, args)
	if !ok {
		return code
	}
	if len(line) != 0 && len(line) != 2 {
		return misused(set, "a request is a METHOD and a URL")
	}
	if i := slices.IndexFunc(headers, func(h string) bool { return strings.IndexByte(h, ':') < 1 }); i >= 0 {
		return misused(set, "-H %q is not 'Name: value'", headers[i])
	}
	doc, loaded := load(t.err, *path)
	if !loaded {
		return exitBad
	}
	if len(line) == 0 {
		gateway.Describe(t.out, doc)
		return exitOK
	}
	x, err := request(line[0], line[1], headers)
	if err != nil {
		fmt.Fprintf(t.out, "400 bad-request: %v\n", err)
		return exitNoRoute
	}
	if err := handshake(x, *cert); err != nil {
		fmt.Fprintf(t.err, "gateway explain: -cert: %v\n", err)
		return exitBad
	}
	err = gateway.Explain(t.out, doc, x, slog.New(slog.DiscardHandler))
	if errors.Is(err, pipeline.NotFound) || errors.Is(err, pipeline.MethodNotAllowed) {
		return exitNoRoute
	}
	return exitOK
}

// handshake gives a request over TLS what its connection would have said. Without a certificate it is one of a client that has
// none.
func handshake(x *pipeline.Exchange, file string) error {
	if file == "" && !x.Secure {
		return nil
	}
	var cert *x509.Certificate
	if file != "" {
		text, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		block, _ := pem.Decode(text)
		if block == nil || block.Type != "CERTIFICATE" {
			return fmt.Errorf("%s does not begin with a certificate", file)
		}
		if cert, err = x509.ParseCertificate(block.Bytes); err != nil {
			return err
		}
	}
	name := string(x.Request.Host())
	if _, err := netip.ParseAddr(strings.Trim(name, "[]")); err == nil {
		name = ""
	}
	x.Secure, x.TLS = true, pipeline.NewTLS(name, cert)
	return nil
}

// request makes the exchange that the edge would make: the target is held to the same rules.
func request(method, rawURL string, headers list) (*pipeline.Exchange, error) {
	u, err := url.Parse(rawURL)
	if err != nil {
		return nil, err
	}
	target := strings.TrimPrefix(rawURL, u.Scheme+"://")
	target = strings.TrimPrefix(target, u.Host)
	if target == "" {
		target = "/"
	}
	path, query, _, err := wire.Canonical(nil, []byte(target))
	if err != nil {
		return nil, err
	}
	clean := string(path)
	if query != nil {
		clean += "?" + string(query)
	}
	host := u.Host
	m := pipeline.NewMemory(method, clean)
	for _, h := range headers {
		name, value, _ := strings.Cut(h, ":")
		name, value = strings.TrimSpace(name), strings.TrimSpace(value)
		switch {
		case strings.EqualFold(name, "Host"):
			host = value
		case strings.EqualFold(name, "Authorization") && m.Exchange.Request.Header(name) != nil:
			return nil, errors.New("two Authorization fields")
		case !strings.Contains(name, "_"): // the edge drops the others
			m.WithHeader(name, value)
		}
	}
	if host == "" {
		host = "localhost"
	}
	m.WithHost(host)
	m.Secure = u.Scheme == "https"
	return &m.Exchange, nil
}
