package main

import (
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"os"
	"slices"
	"strings"

	"github.com/oncegate/oncegate/internal/edge"
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
	x, err := request(line[0], line[1], headers, doc.Listen.Limits)
	if err != nil {
		kind := edge.RefusalOf(err)
		fmt.Fprintf(t.out, "%d %s: %v\n", kind.Status(), kind.Slug(), err)
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

// asked is a request as the edge sees its head. A body can't be said on the command line; its length can.
type asked struct{ edge.View }

func (*asked) Body() io.Reader              { return nil }
func (*asked) Buffer(int64) ([]byte, error) { return nil, nil }
func (*asked) Buffered() ([]byte, bool)     { return nil, true }

// request makes the exchange that the edge would make: the head is written as a client would, and held to the edge's rules. The
// error says why the edge refuses it.
func request(method, rawURL string, headers list, limits edge.LimitsConfig) (*pipeline.Exchange, error) {
	scheme, host, target := splitURL(rawURL)
	var raw strings.Builder
	if !slices.ContainsFunc(headers, func(h string) bool { return strings.HasPrefix(strings.ToLower(h), "host:") }) {
		raw.WriteString("Host: " + host + "\r\n")
	}
	for _, h := range headers {
		if strings.ContainsAny(h, "\r\n") { // it would be two fields, which no client's library sends
			return nil, fmt.Errorf("a line break in a field: %w", wire.BadRequest)
		}
		raw.WriteString(h + "\r\n")
	}
	raw.WriteString("\r\n")
	q := &asked{}
	q.Renew([]byte(method), int64(limits.Body))
	if err := q.Head.Check(q.Verb, []byte(target), []byte("HTTP/1.1"), []byte(raw.String()), wire.Limits{Headers: limits.Headers}); err != nil {
		for _, name := range []string{"Authorization", "Host", "Content-Length"} {
			if q.Head.Count(name) > 1 {
				return nil, fmt.Errorf("two %s fields: %w", name, err)
			}
		}
		return nil, err
	}
	m := pipeline.NewMemory(method, "/")
	m.Exchange.Request = q
	m.Secure = strings.EqualFold(scheme, "https")
	return &m.Exchange, nil
}

// splitURL gives what a client makes of a URL: where it connects, and what it asks for there. A target alone is taken as it is.
func splitURL(rawURL string) (scheme, host, target string) {
	scheme, rest, whole := strings.Cut(rawURL, "://")
	if !whole || scheme == "" || strings.ContainsAny(scheme, "/?#") {
		return "", "localhost", rawURL
	}
	at := strings.IndexAny(rest, "/?#")
	if at < 0 {
		return scheme, rest, "/"
	}
	if host, target = rest[:at], rest[at:]; target[0] != '/' {
		target = "/" + target
	}
	return scheme, host, target
}
