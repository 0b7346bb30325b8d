package main

import (
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"net/url"
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
	words, code, ok := mixed(set, args)
	if !ok {
		return code
	}
	if len(words) != 0 && len(words) != 2 {
		fmt.Fprintln(t.err, "usage: gateway explain -config F [METHOD URL] [-H 'K: V' ...]")
		return exitBad
	}
	doc, loaded := load(t, *path)
	if !loaded {
		return exitBad
	}
	if len(words) == 0 {
		gateway.Describe(t.out, doc)
		return exitOK
	}
	x, err := request(words[0], words[1], headers)
	if err != nil {
		fmt.Fprintf(t.out, "400 bad-request: %v\n", err)
		return exitNoRoute
	}
	err = gateway.Explain(t.out, doc, x, slog.New(slog.DiscardHandler))
	if errors.Is(err, pipeline.NotFound) || errors.Is(err, pipeline.MethodNotAllowed) {
		return exitNoRoute
	}
	return exitOK
}

// mixed parses flags that stand before, between and after words.
func mixed(set *flag.FlagSet, args []string) (words []string, code int, ok bool) {
	for {
		if code, ok = parse(set, args); !ok {
			return nil, code, false
		}
		if set.NArg() == 0 {
			return words, exitOK, true
		}
		words, args = append(words, set.Arg(0)), set.Args()[1:]
	}
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
	m := pipeline.NewMemory(method, clean)
	if u.Host != "" {
		m.WithHost(u.Host)
	}
	for _, h := range headers {
		name, value, ok := strings.Cut(h, ":")
		if !ok {
			return nil, fmt.Errorf("-H %q is not 'Name: value'", h)
		}
		m.WithHeader(strings.TrimSpace(name), strings.TrimSpace(value))
	}
	return &m.Exchange, nil
}
