package main

import (
	"fmt"
	"net"
	"net/http"
	"time"
)

// health asks /readyz of the gateway whose document is given: a container without a shell has no other way.
func health(t terminal, args []string) int {
	set := flags(t, "health")
	path := configFlag(set)
	if code, ok := parse(t, set, args); !ok {
		return code
	}
	doc, ok := load(t.err, *path)
	if !ok {
		return exitBad
	}
	client := http.Client{Timeout: 2 * time.Second, Transport: &http.Transport{Proxy: nil}}
	answer, err := client.Get("http://" + reachable(doc.Admin.Address) + "/readyz")
	if err != nil {
		return exitOn(t, err)
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		fmt.Fprintf(t.err, "gateway: not ready: %s\n", answer.Status)
		return exitFailure
	}
	return exitOK
}

// reachable turns an address to listen on into one to dial.
func reachable(address string) string {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return address
	}
	if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
		host = "127.0.0.1"
	}
	return net.JoinHostPort(host, port)
}
