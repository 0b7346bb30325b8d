package main

import (
	"errors"
	"fmt"
	"log/slog"
	"net/url"
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
	err = gateway.Explain(t.out, doc, x, slog.New(slog.DiscardHandler))
	if errors.Is(err, pipeline.NotFound) || errors.Is(err, pipeline.MethodNotAllowed) {
		return exitNoRoute
	}
	return exitOK
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
	return &m.Exchange, nil
}
