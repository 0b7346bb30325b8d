package main

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/oncegate/oncegate/internal/auth"
	"github.com/oncegate/oncegate/internal/units"
)

// list is a flag that may repeat.
type list []string

func (l *list) String() string     { return strings.Join(*l, " ") }
func (l *list) Set(v string) error { *l = append(*l, v); return nil }

func token(t terminal, args []string) int {
	set := flags(t, "token")
	path := configFlag(set)
	issuer := set.String("issuer", "", "the issuer's name in the document")
	subject := set.String("sub", "", "the subject")
	ttl := set.String("ttl", "1h", "how long the token is good")
	var scopes, claims list
	set.Var(&scopes, "scope", "a scope, or several words; may repeat")
	set.Var(&claims, "claim", "name=value; may repeat")
	if code, ok := parse(t, set, args); !ok {
		return code
	}
	doc, ok := load(t.err, *path)
	if !ok {
		return exitBad
	}
	if *issuer == "" {
		return misused(set, "-issuer is missing")
	}
	cfg, found := doc.Issuers[*issuer]
	if !found {
		fmt.Fprintf(t.err, "gateway: the document has no issuer %q\n", *issuer)
		return exitBad
	}
	var life units.Duration
	if err := life.UnmarshalText([]byte(*ttl)); err != nil {
		fmt.Fprintf(t.err, "gateway: -ttl: %v\n", err)
		return exitBad
	}
	body, err := tokenClaims(cfg, *subject, life.Std(), scopes, claims)
	if err != nil {
		fmt.Fprintf(t.err, "gateway: %v\n", err)
		return exitBad
	}
	signed, err := auth.Sign(cfg, body, time.Now())
	if err != nil {
		fmt.Fprintf(t.err, "gateway: issuer %q: %v\n", *issuer, err)
		return exitBad
	}
	if err := auth.Foresee(cfg, signed, time.Now()); err != nil {
		fmt.Fprintf(t.err, "gateway: warning: this token will be refused: %v\n", err)
	}
	fmt.Fprintln(t.out, signed)
	return exitOK
}

// dates are claims that have to be numbers; all others that -claim names are texts.
var dates = []string{"exp", "nbf", "iat"}

func tokenClaims(cfg auth.IssuerConfig, subject string, life time.Duration, scopes, claims list) (map[string]any, error) {
	if subject == "" {
		return nil, fmt.Errorf("-sub is missing")
	}
	now := time.Now()
	body := map[string]any{
		"iss": cfg.Issuer, "aud": cfg.Audiences[0], "sub": subject,
		"iat": now.Unix(), "exp": now.Add(life).Unix(),
	}
	if len(scopes) > 0 {
		body["scope"] = strings.Join(strings.Fields(scopes.String()), " ")
	}
	for _, c := range claims {
		name, value, ok := strings.Cut(c, "=")
		if !ok || name == "" {
			return nil, fmt.Errorf("-claim %q is not name=value", c)
		}
		body[name] = value
		if seconds, err := strconv.ParseInt(value, 10, 64); err == nil && slices.Contains(dates, name) {
			body[name] = seconds
		}
	}
	return body, nil
}
