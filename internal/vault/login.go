package vault

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"time"
)

// login gives the token to ask with. fresh: it was got just now.
func (c *Client) login(ctx context.Context) (token string, fresh bool, err error) {
	if c.cfg.Token != "" {
		return c.cfg.Token.Reveal(), false, nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.token != "" && time.Now().Before(c.until) {
		return c.token, false, nil
	}
	path, send, err := c.credential()
	if err != nil {
		return "", false, err
	}
	var body struct {
		Auth struct {
			Token string `json:"client_token"`
			Lease int    `json:"lease_duration"` // seconds; 0: for ever
		} `json:"auth"`
	}
	if err := c.call(ctx, http.MethodPost, path, "", send, &body); err != nil {
		return "", false, fmt.Errorf("login: %w", err)
	}
	if body.Auth.Token == "" || strings.ContainsFunc(body.Auth.Token, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return "", false, errors.New("login: the vault's answer holds no token")
	}
	lease := time.Duration(max(0, min(body.Auth.Lease, 1<<30))) * time.Second
	if lease == 0 {
		lease = 24 * time.Hour
	}
	c.token, c.until = body.Auth.Token, time.Now().Add(lease*2/3)
	return c.token, true, nil
}

// credential is the login's path and body.
func (c *Client) credential() (path string, send map[string]string, err error) {
	if a := c.cfg.AppRole; a != nil {
		return "auth/" + escape(a.Mount) + "/login", map[string]string{"role_id": a.RoleID, "secret_id": a.SecretID.Reveal()}, nil
	}
	k := c.cfg.Kubernetes
	if k == nil {
		return "", nil, errors.New("there is no way to log in")
	}
	f, err := os.Open(k.JWTFile)
	if err != nil {
		return "", nil, fmt.Errorf("login: %w", err)
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxJWT))
	if err != nil {
		return "", nil, fmt.Errorf("login: %w", err)
	}
	return "auth/" + escape(k.Mount) + "/login", map[string]string{"role": k.Role, "jwt": strings.TrimSpace(string(text))}, nil
}

// forget drops a login that was refused.
func (c *Client) forget(token string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.token == token {
		c.token = ""
	}
}

// Renew lets the configured token live on, if it is of those that can. Logins need none: they are done again.
func (c *Client) Renew(ctx context.Context) error {
	c.mu.Lock()
	skip := c.cfg.Token == "" || c.fixed
	c.mu.Unlock()
	if skip {
		return nil
	}
	err := c.call(ctx, http.MethodPost, "auth/token/renew-self", c.cfg.Token.Reveal(), map[string]string{}, nil)
	if err != nil && !Unavailable(err) {
		c.mu.Lock()
		c.fixed = true
		c.mu.Unlock()
		return nil
	}
	return err
}
