package vault

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"reflect"
	"strings"
	"sync"
	"time"
	"unicode/utf8"
)

const (
	maxAnswer = 1 << 20
	maxJWT    = 64 << 10
)

// Pool keeps one client for each vault, so that a login outlives a reload.
type Pool struct {
	mu      sync.Mutex
	clients map[string]*Client
}

// NewPool makes an empty one.
func NewPool() *Pool { return &Pool{clients: make(map[string]*Client)} }

// Client gives the client of a vault: the same one as long as its settings stay. The error is about the file of roots.
func (p *Pool) Client(name string, cfg Config) (*Client, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if c := p.clients[name]; c != nil && reflect.DeepEqual(c.cfg, cfg) && cfg.CA == "" {
		return c, nil
	}
	c, err := New(cfg)
	if err != nil {
		return nil, err
	}
	if old := p.clients[name]; old != nil && reflect.DeepEqual(old.cfg, cfg) { // its roots were read again, its login stays
		old.mu.Lock()
		c.token, c.until, c.fixed = old.token, old.until, old.fixed
		old.mu.Unlock()
	}
	p.clients[name] = c
	return c, nil
}

// Client asks one vault.
type Client struct {
	cfg  Config
	base string
	http *http.Client

	mu    sync.Mutex
	token string    // of a login
	until time.Time // from then on a new login is needed
	fixed bool      // the configured token can't be renewed
}

// New makes a client without asking anybody.
func New(cfg Config) (*Client, error) {
	settings := &tls.Config{MinVersion: tls.VersionTLS12}
	if cfg.CA != "" {
		text, err := os.ReadFile(cfg.CA)
		if err != nil {
			return nil, fmt.Errorf("can't read the roots: %w", err)
		}
		settings.RootCAs = x509.NewCertPool()
		if !settings.RootCAs.AppendCertsFromPEM(text) {
			return nil, fmt.Errorf("%s holds no certificate in PEM form", cfg.CA)
		}
	}
	return &Client{cfg: cfg, base: strings.TrimRight(cfg.Address, "/") + "/v1/", http: &http.Client{
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Transport: &http.Transport{
			DialContext: (&net.Dialer{Timeout: cfg.Timeout.Std()}).DialContext, TLSClientConfig: settings,
			DisableKeepAlives: true, DisableCompression: true, MaxResponseHeaderBytes: 64 << 10,
		},
	}}, nil
}

// Read gives the fields of a secret's newest version. A login that the server forgot is done again, once.
func (c *Client) Read(ctx context.Context, path string) (Secret, error) {
	for again := false; ; again = true {
		token, fresh, err := c.login(ctx)
		if err != nil {
			return Secret{}, err
		}
		var body struct {
			Data struct {
				Data map[string]json.RawMessage `json:"data"`
			} `json:"data"`
		}
		err = c.call(ctx, http.MethodGet, escape(c.cfg.Mount)+"/data/"+escape(path), token, nil, &body)
		if refused(err) && !again && !fresh && c.cfg.Token == "" {
			c.forget(token)
			continue
		}
		if err == nil && body.Data.Data == nil {
			err = errors.New("the answer holds no secret: is the engine a key-value engine, version 2?")
		}
		return Secret{body.Data.Data}, err
	}
}

// Secret is one version of a secret.
type Secret struct{ fields map[string]json.RawMessage }

// Text is the text of a field.
func (s Secret) Text(field string) (string, error) {
	raw, there := s.fields[field]
	if !there {
		return "", errors.New("the secret has no such field")
	}
	var text *string
	if err := json.Unmarshal(raw, &text); err != nil || text == nil {
		return "", errors.New("the field is not a text")
	}
	if !utf8.ValidString(*text) {
		return "", errors.New("the field is not UTF-8")
	}
	return *text, nil
}

// statusError is an answer that is not a success. The text of the answer is not kept: it could repeat what was sent.
type statusError struct {
	status  int
	deleted bool
}

func (e *statusError) Error() string {
	switch {
	case e.deleted:
		return "the secret's newest version is deleted"
	case e.status == http.StatusForbidden:
		return "permission denied (403)"
	case e.status == http.StatusNotFound:
		return "there is no such secret (404)"
	case e.status == http.StatusServiceUnavailable:
		return "the vault is sealed or in maintenance (503)"
	case e.status >= 300 && e.status < 400:
		return fmt.Sprintf("the vault sends elsewhere (%d), which is not followed", e.status)
	}
	return fmt.Sprintf("the vault answers %d", e.status)
}

func refused(err error) bool {
	var status *statusError
	return errors.As(err, &status) && (status.status == http.StatusForbidden || status.status == http.StatusUnauthorized)
}

// Unavailable tells a vault that does not answer, or can't now, from one that refuses.
func Unavailable(err error) bool {
	var status *statusError
	if errors.As(err, &status) {
		return status.status >= 500 || status.status == http.StatusTooManyRequests
	}
	var wrapped net.Error
	return errors.As(err, &wrapped) || errors.Is(err, context.DeadlineExceeded)
}

// call makes one request and reads its JSON.
func (c *Client) call(ctx context.Context, method, path, token string, send, into any) error {
	ctx, cancel := context.WithTimeout(ctx, c.cfg.Timeout.Std())
	defer cancel()
	var body io.Reader
	if send != nil {
		text, err := json.Marshal(send)
		if err != nil {
			return errors.New("the request can't be written")
		}
		body = bytes.NewReader(text)
	}
	r, err := http.NewRequestWithContext(ctx, method, c.base+path, body)
	if err != nil {
		return errors.New("the address can't be used")
	}
	r.Header.Set("X-Vault-Request", "true")
	if token != "" {
		r.Header.Set("X-Vault-Token", token)
	}
	if c.cfg.Namespace != "" {
		r.Header.Set("X-Vault-Namespace", c.cfg.Namespace)
	}
	answer, err := c.http.Do(r)
	if err != nil {
		var wrapped *url.Error
		if errors.As(err, &wrapped) {
			err = wrapped.Err
		}
		return fmt.Errorf("the vault can't be asked: %w", err)
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(io.LimitReader(answer.Body, maxAnswer+1))
	switch {
	case err != nil:
		return fmt.Errorf("the vault's answer broke off: %w", err)
	case len(text) > maxAnswer:
		return errors.New("the vault's answer is larger than 1 MiB")
	case answer.StatusCode != http.StatusOK && answer.StatusCode != http.StatusNoContent:
		return &statusError{answer.StatusCode, answer.StatusCode == http.StatusNotFound && bytes.Contains(text, []byte(`"deletion_time"`))}
	case into == nil:
		return nil
	}
	if json.Unmarshal(text, into) != nil { // its error could quote the text
		return errors.New("the vault's answer is not what was expected")
	}
	return nil
}

func escape(path string) string {
	parts := strings.Split(path, "/")
	for i, part := range parts {
		parts[i] = url.PathEscape(part)
	}
	return strings.Join(parts, "/")
}
