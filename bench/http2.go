package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"
)

// reverse is what the HTTP/2 edge is compared with: the standard library's proxy, as it comes. Kinds: h1, from HTTP/2 on clear text to
// HTTP/1.1; h2, from HTTP/2 to HTTP/2, both on clear text; any other is the file of a certificate and its key: from HTTP/2 with TLS to
// HTTP/1.1.
func reverse(listen, origin, kind string) error {
	in, out := new(http.Protocols), new(http.Protocols)
	in.SetUnencryptedHTTP2(true)
	out.SetHTTP1(true)
	switch kind {
	case "h1":
	case "h2":
		out.SetHTTP1(false)
		out.SetUnencryptedHTTP2(true)
	default:
		in.SetUnencryptedHTTP2(false)
		in.SetHTTP2(true)
	}
	target := &url.URL{Scheme: "http", Host: origin}
	server := &http.Server{
		Addr: listen, Protocols: in, ReadHeaderTimeout: 10 * time.Second, ErrorLog: log.New(io.Discard, "", 0),
		Handler: &httputil.ReverseProxy{
			Rewrite:   func(r *httputil.ProxyRequest) { r.SetURL(target); r.SetXForwarded() },
			Transport: &http.Transport{Protocols: out, MaxIdleConnsPerHost: 1024, DisableCompression: true},
		},
	}
	if in.HTTP2() {
		return server.ListenAndServeTLS(kind, kind)
	}
	return server.ListenAndServe()
}

func reverseStart(kind func(*bench) (string, error), origin func(*bench) string) func(b *bench) (*process, error) {
	return func(b *bench) (*process, error) {
		word, err := kind(b)
		if err != nil {
			return nil, err
		}
		address := freeAddress()
		self, err := os.Executable()
		if err != nil {
			return nil, err
		}
		return spawn(address, os.DevNull, self, "reverse", address, origin(b), word)
	}
}

func word(kind string) func(*bench) (string, error) {
	return func(*bench) (string, error) { return kind, nil }
}

func originAddress(b *bench) string { return b.origin.address }

// certificate is a file with a certificate for bench.test and its key, made once.
func (b *bench) certificate() (string, error) {
	path := filepath.Join(b.dir, "certificate.pem")
	if _, err := os.Stat(path); err == nil {
		return path, nil
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return "", err
	}
	about := x509.Certificate{DNSNames: []string{"bench.test"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, &about, &about, key.Public(), key)
	if err != nil {
		return "", err
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return "", err
	}
	text := append(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private})...)
	return path, os.WriteFile(path, text, 0o600)
}

// http2Connections share the 64 requests that are under way at once.
const http2Connections = 4

// load2 sends n GETs over HTTP/2 and wants status 200 each time; scheme is http or https.
func load2(scheme, address string, n int) error {
	var left atomic.Int64
	left.Store(int64(n))
	errs := make(chan error, connections)
	var group sync.WaitGroup
	for range http2Connections {
		protocols := new(http.Protocols)
		protocols.SetUnencryptedHTTP2(scheme == "http")
		protocols.SetHTTP2(scheme == "https")
		transport := &http.Transport{Protocols: protocols, DisableCompression: true, TLSClientConfig: &tls.Config{InsecureSkipVerify: true}} //nolint:gosec // who answers is known
		defer transport.CloseIdleConnections()
		for range connections / http2Connections {
			group.Go(func() { errs <- load2One(transport, scheme+"://"+address, &left) })
		}
	}
	group.Wait()
	close(errs)
	var all error
	for err := range errs {
		all = errors.Join(all, err)
	}
	return all
}

func load2One(transport *http.Transport, base string, left *atomic.Int64) error {
	for left.Add(-1) >= 0 {
		r, err := http.NewRequest("GET", base+"/api/orders/42?full=1", nil)
		if err != nil {
			return err
		}
		r.Header = http.Header{"User-Agent": {"bench/1"}, "Accept": {"application/json"}, "X-Client-Version": {"7.1.3"}, "Cache-Control": {"no-cache"}}
		answer, err := transport.RoundTrip(r)
		if err != nil {
			return err
		}
		_, err = io.Copy(io.Discard, answer.Body)
		if err = errors.Join(err, answer.Body.Close()); err != nil {
			return err
		}
		if answer.StatusCode != http.StatusOK {
			return fmt.Errorf("status %d", answer.StatusCode)
		}
	}
	return nil
}
